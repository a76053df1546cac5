{
  kSetName, product_tile, pack_transposed_panel, pack_panel, transpose_tile, rmsnorm_rows,
      rmsnorm_backward_rows, swiglu_rows, swiglu_backward_rows, add_to, divide, exp_values, row_statistics,
      logit_gradient, exp_block_sums, exp_minus, qk_norm_rope, qk_norm_rope_backward, attend, dot,
      attend_backward, attend_backward_keys, attend_backward_queries, sum_of_squares, scale, all_finite, adamw
}
