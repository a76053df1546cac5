// One step ahead: while the device computes a forward, the host plans and asks for the next one. What this
// one draws is not known then, but nearly everything else is: who gets which pages, which rows decode, the
// number of every draw. The next forward finds the ids on the device (ops::take_sampled).
//
// Sequences that end by their length are left out of the next plan. One that ends by a stop token has been
// planned with: its row is computed for nobody, and it leaves the scheduler when that plan is done. Its pages
// are given on no earlier, so nothing that is on its way writes into another sequence's.
#include <algorithm>

#include "base/error.h"
#include "rollout/engine_state.h"

namespace rlcpp::rollout {
namespace {

constexpr std::int32_t kToCome = -1;  // stands for a token that is not here yet

}  // namespace

Engine::State::~State() {
  if (!flight.has_value()) return;
  try {
    ops::synchronize(ctx);  // it reads and writes memory that goes now
  } catch (const Error&) {
    // Whoever asked for the forward would have been told; nobody is left.
  }
}

std::optional<Flight> Engine::State::begin() {
  const StepPlan& plan = scheduler.schedule();
  if (plan.tokens > 0) return ask(plan);
  scheduler.commit({});
  return std::nullopt;
}

// A penalty looks at the tokens before, on the host.
bool Engine::State::may_look_ahead() const {
  return looks_ahead && penalised == 0;
}

std::optional<Flight> Engine::State::look_ahead(Flight& now) {
  commit_unseen(now);
  std::optional<Flight> next = begin();
  for (const StepPlan::Sample& sample : now.samples) sources[static_cast<std::size_t>(sample.sequence)] = -1;
  return next;
}

// The scheduler goes on as if the tokens were here. Those whose last one is among them leave it.
void Engine::State::commit_unseen(Flight& of) {
  token_ids.assign(of.samples.size(), kToCome);
  scheduler.commit(token_ids);
  remove_ended();
  of.committed = true;
  of.places.assign(of.samples.size(), -1);
  sources.resize(outputs.size(), -1);
  for (std::size_t i = 0; i < of.samples.size(); ++i) {
    const SequenceHandle handle = of.samples[i].sequence;
    Output& output = outputs[static_cast<std::size_t>(handle)];
    if (output.request == nullptr) continue;  // a row for nobody
    const Sequence& sequence = scheduler.sequence(handle);
    of.places[i] = sequence.known() - 1;
    if (sequence.outputs() >= output.request->max_tokens ||
        sequence.known() >= scheduler.config().max_model_len) {
      Output none;
      endings.push_back({i, std::exchange(output, {}), result_of(handle, none)});
      scheduler.remove(handle);
    } else {
      sources[static_cast<std::size_t>(handle)] = static_cast<std::int32_t>(i);
    }
  }
}

void Engine::State::remove_ended() {
  for (const SequenceHandle handle : ended) scheduler.remove(handle);
  ended.clear();
}

// The draws of a forward, once they are here.
void Engine::State::take(Flight& of) {
  const Clock::time_point before = Clock::now();
  if (ctx.on_gpu()) {
    const StepBuffers::Drawn drawn = buffers.wait(of.side);
    of.tokens.resize(of.samples.size());
    for (std::size_t i = 0; i < of.tokens.size(); ++i) of.tokens[i] = {drawn.ids[i], drawn.logprobs[i]};
  }
  stats.forward_seconds += seconds_since(before);
  if (!of.committed) {
    token_ids.clear();
    for (const ops::SampledToken& token : of.tokens) token_ids.push_back(token.id);
    scheduler.commit(token_ids);
    remove_ended();
  }
  auto ending = endings.begin();
  for (std::size_t i = 0; i < of.tokens.size(); ++i) {
    const SequenceHandle handle = of.samples[i].sequence;
    const ops::SampledToken& token = of.tokens[i];
    if (ending != endings.end() && ending->sample == i) {
      note(ending->output, token);
      SampledSequence& result = ending->result;
      result.ids.back() = token.id;
      result.logprobs = std::move(ending->output.logprobs);
      result.versions = std::move(ending->output.versions);
      const auto outputs_now = static_cast<std::int64_t>(result.ids.size());
      result.finish = ends(ending->output, token.id, outputs_now, 0).value_or(FinishReason::kLength);
      finished.push_back(std::move(result));
      forget(ending->output);
      ++ending;
      continue;
    }
    Output& output = outputs[static_cast<std::size_t>(handle)];
    if (output.request == nullptr) continue;
    note(output, token);
    if (of.committed) scheduler.resolve(handle, of.places[i], token.id);
    const Sequence& sequence = scheduler.sequence(handle);
    if (const auto reason = ends(output, token.id, sequence.outputs(), sequence.known())) {
      finish(handle, *reason);
    }
  }
  endings.clear();
}

// Nothing is on its way afterwards.
void Engine::State::settle() {
  if (!flight.has_value()) return;
  Flight now = std::move(*flight);
  flight.reset();
  take(now);
}

void Engine::State::note(Output& output, const ops::SampledToken& token) {
  if (token.id < 0) {
    Draw draw;
    draw.request = output.request.get();
    draw.index = static_cast<std::int64_t>(output.logprobs.size());
    throw not_finite(draw, token.logprob);
  }
  output.logprobs.push_back(token.logprob);
  output.versions.push_back(version);
  ++stats.sampled_tokens;
}

// Why the token was the last one of its sequence, which has so many now; none if it was not.
std::optional<FinishReason> Engine::State::ends(Output& output, std::int32_t id, std::int64_t outputs_now,
                                                std::int64_t known) {
  const GroupRequest& request = *output.request;
  bool stopped = std::ranges::find(request.stop_ids, id) != request.stop_ids.end();
  if (!request.stop_strings.empty()) {
    const bool matched = output.stop.feed(token_bytes(id), request.stop_strings);
    stopped = stopped || (matched && outputs_now > request.min_tokens);
  }
  if (stopped) return FinishReason::kStop;
  if (outputs_now >= request.max_tokens || known >= scheduler.config().max_model_len)
    return FinishReason::kLength;
  return std::nullopt;
}

}  // namespace rlcpp::rollout
