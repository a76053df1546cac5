# Set by the ops room: per-file flags of src/ops/cpu kernels.
