#include "train/trainer.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "base/failpoint.h"
#include "base/rng.h"
#include "model/fp8.h"
#include "ops/attention.h"
#include "ops/cast.h"
#include "ops/head.h"
#include "ops/optimizer.h"
#include "ops/workspace.h"
#include "train/exchange.h"
#include "train/muon.h"
#include "train/nonfinite.h"
#include "train/optimizer.h"
#include "train/rank_share.h"
#include "train/row_buffers.h"
#include "train/row_loss.h"
#include "train/scratch.h"
#include "train/shards.h"
#include "train/spoil.h"
#include "train/state_stream.h"
#include "train/trained_adapters.h"
#include "train/trainer_impl.h"

namespace rlcpp::train {

namespace {

void allow_any_order(const ops::Context& ctx) {
  if (!ctx.on_gpu()) return;  // the CPU knows one order
  if (ctx.mode == ops::NumericMode::kExact) {
    throw bad_input("deterministic is false and numeric_mode is exact",
                    "mode exact keeps the order of every sum",
                    "set deterministic to true, or numeric_mode to fast");
  }
  if (ctx.cuda != nullptr) ops::use_attention_kernels(ctx, ops::AttentionKernels::kUnordered);
}

}  // namespace

std::shared_ptr<Trainer::Regions> Trainer::plan(const ops::Context& ctx, const model::ModelConfig& model,
                                                const TrainerOptions& options, MemoryPlan& plan) {
  if (options.fp8) model::require_fp8(ctx, model);
  if (options.any_order) allow_any_order(ctx);
  auto r = std::make_shared<Regions>();
  const DType moments = moment_type(ctx, options.optim);
  if (model.adapters.any()) {
    // Their state is small and stays on the device, whatever optimizer_on_host says.
    r->adapters = plan_adapter_training(model, plan, options.optim, moments, options.sharding.ranks);
  } else if (options.sharding.any()) {
    r->shards = plan_shards(model, options.sharding, options.optim, moments,
                            options.optimizer_on_host && ctx.on_gpu(), plan);
    if (options.optimizer_on_host) {
      r->stream = plan_stream(ctx, plan, options.optimizer_chunk, model::parameter_list(model),
                              moments_of(options.optim), moments);
    }
  } else {
    r->gradients = model::plan_weights(model, plan, MemoryUse::kGradients, "gradient.", DType::kF32);
    // On the CPU there is one memory, and one part of the plan.
    const bool apart = options.optimizer_on_host && ctx.on_gpu();
    const MemoryUse resting = apart ? MemoryUse::kHostOptimizer : MemoryUse::kOptimizer;
    r->first = plan_moments(model, options.optim, &MomentUse::first, plan, resting, "exp_avg.", moments);
    r->second = plan_moments(model, options.optim, &MomentUse::second, plan, resting, "exp_avg_sq.", moments);
    if (options.optimizer_on_host) {
      r->stream = plan_stream(ctx, plan, options.optimizer_chunk, model::parameter_list(model),
                              moments_of(options.optim), moments);
    }
  }
  r->activations =
      model::Activations::plan(model, plan, options.max_tokens, options.recompute, ctx.compute_type(),
                               {options.inflight_activations, ctx.on_gpu()}, options.fp8);
  r->rows = plan_rows(plan, options.max_tokens, r->activations.dhidden);
  r->scratch = plan_scratch(ctx, model, options, plan);
  if (options.sharding.any()) r->staging = plan_exchange(plan, options.sharding.ranks);
  if (options.optim.type == "muon") r->muon = plan_muon(ctx, model, options, plan);
  return r;
}

Trainer::Trainer(const ops::Context& ctx, const model::ModelConfig& model, const TrainerOptions& options,
                 const Arena& arena, const std::shared_ptr<Regions>& regions, const model::WeightSet& weights,
                 const model::WeightSet& packed, const model::RopeTables& rope,
                 const model::WeightSet& masters, const Peers& peers)
    : impl_(new Impl{ctx,
                     model,
                     options,
                     peers.sharded.any() ? peers.sharded.weights : weights,
                     peers.sharded.any() ? peers.sharded.packed : packed,
                     peers.sharded.any()    ? peers.sharded.weights
                     : masters.flat.empty() ? weights
                                            : masters,
                     model.adapters.any() || peers.sharded.any()
                         ? model::frozen_gradients(model)
                         : model::make_weight_set(model, arena, regions->gradients),
                     rope,
                     model::Activations(ctx, model, arena, regions->activations),
                     arena[regions->scratch.logits],
                     RowBuffers(ctx, arena, regions->rows, model.vocab_size),
                     {},
                     {},
                     {},
                     State{},
                     nullptr}) {
  if (options.any_order) allow_any_order(ctx);
  if (options.sharding.any()) {
    RLCPP_CHECK(peers.communicator != nullptr && peers.communicator->size() == options.sharding.ranks &&
                peers.communicator->rank() == options.sharding.rank);
    impl_->communicator = peers.communicator;
    impl_->staging = arena[regions->staging];
  }
  if (regions->scratch.workspace.index >= 0) ops::use_workspace(ctx, arena[regions->scratch.workspace]);
  if (model.adapters.any()) {
    RLCPP_CHECK(!weights.adapters.empty() && !masters.adapters.empty());
    impl_->adapters = make_adapter_training(model, arena, regions->adapters, masters.adapters);
    impl_->trained = impl_->adapters.trained;
    impl_->gradients.adapters = impl_->adapters.gradients;
  } else if (options.sharding.any()) {
    RLCPP_CHECK(peers.sharded.any());
    impl_->shards = std::make_unique<Shards>(ctx, model, arena, regions->shards, peers.sharded, options.optim,
                                             *peers.communicator);
    impl_->trained = impl_->shards->pieces();
    impl_->gradients = impl_->shards->gradients();
  } else {
    impl_->trained = whole_model(model, impl_->weights, impl_->masters, impl_->gradients,
                                 model::make_weight_set(model, arena, regions->first),
                                 model::make_weight_set(model, arena, regions->second));
  }
  impl_->trained_gradients = tensors_of(impl_->trained, &TrainedParameter::gradient);
  if (regions->muon.has_value())
    impl_->muon = std::make_unique<Muon>(ctx, trained_parameters(model), arena, *regions->muon);
  if (regions->stream.has_value()) {
    impl_->on_host = std::make_unique<StateStream>(ctx, arena, *regions->stream);
  }
  zero_moments(ctx, impl_->trained);
  repack();
}

Trainer::~Trainer() = default;

// Mean of -log p over the loss tokens of the step: the coefficient of each is -1 / scale, so loss,
// log-probability and gradient come from one visit of the head. Returns this micro-batch's share of the loss.
double Trainer::Impl::cross_entropy(const data::MicroBatch& batch, double scale) {
  const Row row = rows.load(batch, Targets::kTrained);
  const Tensor hidden = forward(row, true);
  spoil_trained("train.hidden", hidden, row.host_targets);
  const auto coefficients = rows.coefficients(row);
  const auto targets = row.host_targets;
  const float each = static_cast<float>(-1.0 / scale);
  for (std::size_t t = 0; t < coefficients.size(); ++t) coefficients[t] = targets[t] >= 0 ? each : 0.0F;
  rows.send_coefficients(row);
  ops::head_fused(ctx, row.logprobs, Tensor(), row.dhidden, gradients.head, row.coefficients,
                  head_inputs(row, hidden));
  spoil_trained("train.logprobs", row.logprobs, row.host_targets);
  spoil_trained("train.hidden_gradient", row.dhidden, row.host_targets);
  rows.fetch(row);
  backward(row);
  // The device has its work for this row; the host adds while it is at it.
  double sum = 0;
  const auto logprobs = rows.logprobs(row);
  for (std::size_t t = 0; t < logprobs.size(); ++t) {
    if (targets[t] >= 0) sum -= static_cast<double>(logprobs[t]);
  }
  return sum / scale;
}

// Coefficients need the log-probabilities of whole documents first (ratios, sequence masks), so the head is
// visited twice; where the memory of the logits has room for all rows, the second visit finds what the first
// one left. A frozen head is visited once: its dhidden is linear in the coefficient of a row, which scales it
// afterwards.
double Trainer::Impl::policy_gradient(const data::MicroBatch& batch, const Scales& scales,
                                      LossMetrics& metrics) {
  const Row row = rows.load(batch, Targets::kTrained);
  const Tensor hidden = forward(row, true);
  spoil_trained("train.hidden", hidden, row.host_targets);
  const ops::HeadInputs inputs = head_inputs(row, hidden, true);
  const bool frozen_head = gradients.head.empty();
  if (frozen_head) {
    std::ranges::fill(rows.coefficients(row), 1.0F);
    rows.send_coefficients(row);
    ops::head_fused(ctx, row.logprobs, row.entropies, row.dhidden, Tensor(), row.coefficients, inputs);
  } else {
    ops::head_logprobs(ctx, row.logprobs, row.entropies, inputs);
  }
  spoil_trained("train.logprobs", row.logprobs, row.host_targets);
  rows.fetch(row);

  const std::size_t tokens = batch.ids.size();
  std::vector<float> logprobs(tokens), entropies(tokens), coefficients(tokens, 0.0F);
  rows_to_tokens(batch, rows.logprobs(row), logprobs);
  rows_to_tokens(batch, rows.entropies(row), entropies);
  const double before = metrics.loss;
  row_loss(options.loss, batch, logprobs, entropies, scales, coefficients, metrics);
  tokens_to_rows(batch, coefficients, rows.coefficients(row));
  rows.send_coefficients(row);
  if (frozen_head) {
    ops::scale_rows(ctx, row.dhidden, row.coefficients);
  } else {
    ops::head_backward(ctx, row.dhidden, gradients.head, row.coefficients, inputs);
  }
  spoil_trained("train.hidden_gradient", row.dhidden, row.host_targets);
  backward(row);
  return metrics.loss - before;
}

// Returns this rank's part of the loss.
double Trainer::Impl::train(const RankShare& share, const Scales& scales, LossMetrics& metrics) {
  double loss = 0;
  const std::size_t count = share.batches.size();
  for (std::size_t i = 0; i < count; ++i) {
    const data::MicroBatch& batch = *share.batches[i];
    micro_batch = share.first + i;
    if (communicator != nullptr)
      communicator->note("micro-batch", static_cast<std::int64_t>(i + 1), static_cast<std::int64_t>(count));
    if (shards != nullptr) shards->begin_micro_batch(i + 1 == count);
    const bool policy = batch.rl && (options.loss.type != "cross_entropy" || !batch.ce_weights.empty());
    loss += policy ? policy_gradient(batch, scales, metrics) : cross_entropy(batch, scales.policy);
    if (options.on_micro_batch) {
      options.on_micro_batch(static_cast<std::int64_t>(i + 1), static_cast<std::int64_t>(count));
    }
  }
  if (shards != nullptr) shards->finish_gradients();
  if (model.adapters.any()) {
    collect_adapter_gradients(ctx, model, adapters);
    if (communicator != nullptr) sum_adapter_gradients(ctx, adapters, *communicator);
  }
  return loss;
}

// Loss and metrics of all ranks, in the order of their micro-batches.
void Trainer::Impl::combine(double& loss, LossMetrics& metrics) {
  if (communicator == nullptr) return;
  std::vector<double> mine = numbers_of(metrics);
  mine.push_back(loss);
  loss = 0;
  metrics = {};
  for (std::vector<double>& numbers : exchange(*communicator, staging, mine, "metrics of the step")) {
    loss += numbers.back();
    numbers.pop_back();
    append(metrics, numbers);
  }
}

double Trainer::Impl::gradient_norm() const {
  const double mine = ops::sum_of_squares(ctx, trained_gradients);
  if (shards == nullptr) return std::sqrt(mine);
  double all = 0;
  for (const std::vector<double>& part : exchange(*communicator, staging, {mine}, "gradient norm")) {
    all += part.at(0);
  }
  return std::sqrt(all);
}

void Trainer::Impl::update(double norm, double lr) {
  UpdateStep step;
  step.lr = lr;
  step.update = ++state.updates;
  if (options.optim.max_norm.has_value()) {
    // torch.nn.utils.clip_grad_norm_: the small constant keeps a zero gradient finite.
    step.gradient_scale = static_cast<float>(std::min(1.0, *options.optim.max_norm / (norm + 1e-6)));
  }
  if (muon != nullptr && shards != nullptr) muon->update(options.optim, step, *shards, *communicator);
  for (const TrainedParameter& p : trained) {
    if (muon != nullptr && p.second.empty()) {
      if (shards == nullptr) muon->update(options.optim, step, p);
    } else if (on_host != nullptr) {
      on_host->update(p, options.optim, step);
    } else {
      train::update(ctx, options.optim, step, run_of(p));
    }
  }
  publish();
}

void Trainer::Impl::publish() {
  if (model.adapters.any()) {
    model::publish_adapters(ctx, model, weights.adapters, masters.adapters);
  } else if (shards != nullptr) {
    shards->publish();
  } else {
    model::pack_all(ctx, packed, weights);
  }
}

StepResult Trainer::step(const std::vector<data::MicroBatch>& batches) {
  Impl& m = *impl_;
  StepResult result;
  bool rl = false;
  for (const data::MicroBatch& batch : batches) {
    result.tokens += batch.tokens();
    result.documents += batch.documents();
    result.loss_tokens += batch.loss_tokens();
    rl = rl || batch.rl;
  }
  if (result.loss_tokens == 0) {
    throw runtime_failure("the batch of a step has no token to train",
                          fmt::format("{} tokens, all masked", result.tokens),
                          "check data.loss_mask and the filters of the batch");
  }
  const Scales scales = scales_of(batches, m.options.loss);

  if (m.shards != nullptr) {
    m.shards->begin_step();
  } else {
    for (const Tensor& g : m.adapters.accumulated.empty() ? m.trained_gradients : m.adapters.accumulated) {
      ops::zero(m.ctx, g);
    }
  }
  LossMetrics loss_metrics;
  const RankShare mine = share_of(batches, m.options.sharding);
  result.loss = m.train(mine, scales, loss_metrics);
  m.combine(result.loss, loss_metrics);
  result.loss = spoiled(failpoint::hit("train.loss"), result.loss);
  spoil(failpoint::hit("train.gradient"), m.trained_gradients.front());
  for (const Tensor& gradient : m.trained_gradients)
    spoil(failpoint::hit("train.gradient.parameter"), gradient);

  result.grad_norm = spoiled(failpoint::hit("train.norm"), m.gradient_norm());
  result.lr = learning_rate(m.options.scheduler, m.options.optim.lr, m.state.step, m.options.max_steps);
  result.max_abs_mismatch = loss_metrics.max_abs_mismatch;
  result.first_mismatch = loss_metrics.first_mismatch;
  const bool finite = std::isfinite(result.loss) && std::isfinite(result.grad_norm);
  const std::optional<double>& most = m.options.optim.skip_norm;
  result.skipped = !finite || (most.has_value() && result.grad_norm > *most);
  std::string dump;
  if (result.skipped) {
    m.state.nonfinite += 1;
    m.state.skipped += 1;
    if (!m.options.dump_dir.empty() && m.options.sharding.rank == 0)
      dump = dump_batch(m.options.dump_dir, m.state.step + 1, result.loss, result.grad_norm, batches);
  } else {
    m.state.nonfinite = 0;
    if (m.options.before_update) m.options.before_update();
    m.update(result.grad_norm, result.lr);
  }
  m.state.step += 1;
  if (m.state.nonfinite >= m.options.max_nonfinite_steps && result.skipped) {
    result.stop = gave_up(m.state.nonfinite, m.state.step, result.loss, result.grad_norm, dump);
    m.state.nonfinite = 0;  // a run that goes on from here counts anew
  }

  monitor::Metrics& out = result.metrics;
  out.set("loss/mean", result.loss);
  if (!rl) out.set("loss/perplexity", std::exp(result.loss));
  out.set("loss/nan_count", finite ? 0 : 1);
  out.set("optim/lr", result.lr);
  out.set("optim/grad_norm", result.grad_norm);
  out.set("optim/skipped_steps", static_cast<double>(m.state.skipped));
  if (rl) add_metrics(loss_metrics, out);
  return result;
}

void Trainer::repack() {
  Impl& m = *impl_;
  for (const TrainedParameter& p : m.trained) {
    if (m.on_host != nullptr) {
      m.on_host->cast(p);
    } else if (!p.working.empty()) {
      ops::cast(m.ctx, p.working, p.master);
    }
  }
  if (m.shards == nullptr) model::pack_all(m.ctx, m.packed, m.weights);  // of the base too: it may be new
  if (m.shards != nullptr || m.model.adapters.any()) m.publish();
  if (m.on_host != nullptr) m.on_host->synchronize();
}
std::int64_t Trainer::steps_done() const {
  return impl_->state.step;
}
void Trainer::synchronize() const {
  ops::synchronize(impl_->ctx);
  if (impl_->on_host != nullptr) impl_->on_host->synchronize();
}
Device Trainer::device() const {
  return impl_->ctx.device;
}
const model::WeightSet& Trainer::weights() const {
  if (impl_->on_host != nullptr) impl_->on_host->synchronize();
  return impl_->masters;
}
const model::WeightSet& Trainer::decoder_weights() const {
  return impl_->weights;
}
const model::ModelConfig& Trainer::model() const {
  return impl_->model;
}
const OptimConfig& Trainer::optim() const {
  return impl_->options.optim;
}
Trainer::State Trainer::state() const {
  return impl_->state;
}
void Trainer::set_state(const State& state) {
  impl_->state = state;
}
const std::vector<TrainedParameter>& Trainer::trained() const {
  if (impl_->on_host != nullptr) impl_->on_host->synchronize();
  return impl_->trained;
}

}  // namespace rlcpp::train
