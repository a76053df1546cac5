#include "transport/offered_weights.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <system_error>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/failpoint.h"
#include "base/json_text.h"
#include "base/rng.h"
#include "base/wait.h"

namespace rlcpp::transport {
namespace {

namespace fs = std::filesystem;

const failpoint::Registration kOfferPoints{"transport.offer.taken"};

constexpr const char* kOffer = "OFFER.json";
constexpr const char* kTaking = "TAKING.json";
// What both wait for is at most a few steps of the other away, and the file is small.
constexpr std::chrono::milliseconds kLook{2};

// The object in `path`; null if there is none. A file is replaced whole, so half of one is damage.
nlohmann::json object_in(const std::string& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return {};
  try {
    auto found = parse_json(durable::read_file(path));
    return found.is_object() ? found : nlohmann::json();
  } catch (const Error&) {  // removed in between
    return {};
  }
}

}  // namespace

std::optional<WeightOffer> read_offer(const std::string& folder) {
  const nlohmann::json found = object_in(folder + "/" + kOffer);
  if (found.is_null()) return std::nullopt;
  try {
    return WeightOffer{found.at("run").get<std::string>(), whole_number<std::int64_t>(found.at("step")),
                       whole_number<std::int64_t>(found.at("replay_from")),
                       whole_number<std::uint64_t>(found.at("number")), found.at("finished").get<bool>()};
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

std::optional<WeightTaking> read_taking(const std::string& folder) {
  const nlohmann::json found = object_in(folder + "/" + kTaking);
  if (found.is_null()) return std::nullopt;
  try {
    return WeightTaking{whole_number<std::uint64_t>(found.at("number")), found.at("finished").get<bool>()};
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

OfferedWeightSender::OfferedWeightSender(durable::FileLayer& files, std::string offers, std::string takings,
                                         std::string run)
    : files_(files), offers_(std::move(offers)), takings_(std::move(takings)), run_(std::move(run)) {
  std::random_device device;
  seed_ = mix64(device(), device());
  durable::make_directories(files_, offers_);
  std::error_code ignored;
  if (fs::exists(offers_ + "/" + kOffer, ignored)) files_.remove(offers_ + "/" + kOffer);
}

void OfferedWeightSender::write(const WeightOffer& offer) {
  const nlohmann::ordered_json text = {{"run", offer.run},
                                       {"step", offer.step},
                                       {"replay_from", offer.replay_from},
                                       {"number", offer.number},
                                       {"finished", offer.finished}};
  durable::write_file(files_, offers_ + "/" + kOffer, text.dump() + "\n");
}

std::optional<Publication> OfferedWeightSender::publish(WeightBroadcast& broadcast,
                                                        std::span<const NamedTensor> weights,
                                                        std::int64_t step, std::int64_t replay_from,
                                                        const WaitOptions& options) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  const WeightOffer offer{run_, step, replay_from, mix64(seed_, ++count_), false};
  write(offer);
  const Wait wait("the orchestrator", fmt::format("it to take the weights of step {}", step), options.soft,
                  options.hard);
  const auto waited = [&] { waited_ = std::chrono::duration<double>(Clock::now() - begin).count(); };
  for (;;) {
    const auto taking = read_taking(takings_);
    waited();
    if (taking.has_value() && taking->number == offer.number) break;
    if (taking.has_value() && taking->finished) return std::nullopt;
    if (options.stop && options.stop()) return std::nullopt;
    wait.check();
    std::this_thread::sleep_for(kLook);
  }
  failpoint::hit("transport.offer.taken");
  Publication out = broadcast.send(run_, step, weights);
  out.replay_from = replay_from;
  return out;
}

bool OfferedWeightSender::taker_finished() const {
  const auto taking = read_taking(takings_);
  return taking.has_value() && taking->finished;
}

OfferedWeightSender::~OfferedWeightSender() {
  try {
    finish();
  } catch (const Error&) {  // the other side then finds out from the connection
  }
}

void OfferedWeightSender::finish() {
  if (std::exchange(finished_, true)) return;
  write({run_, 0, 0, mix64(seed_, ++count_), true});
}

OfferedWeightReceiver::OfferedWeightReceiver(durable::FileLayer& files, std::string offers,
                                             std::string takings)
    : files_(files), offers_(std::move(offers)), takings_(std::move(takings)) {
  durable::make_directories(files_, takings_);
  std::error_code ignored;
  if (fs::exists(takings_ + "/" + kTaking, ignored)) files_.remove(takings_ + "/" + kTaking);
}

void OfferedWeightReceiver::write(const WeightTaking& taking) {
  const nlohmann::ordered_json text = {{"number", taking.number}, {"finished", taking.finished}};
  durable::write_file(files_, takings_ + "/" + kTaking, text.dump() + "\n");
}

std::optional<std::int64_t> OfferedWeightReceiver::newest(std::int64_t first, std::int64_t last) {
  const auto offer = read_offer(offers_);
  if (!offer.has_value() || offer->finished || offer->number == done_) return std::nullopt;
  return offer->step >= first && offer->step <= last ? std::optional(offer->step) : std::nullopt;
}

std::string OfferedWeightReceiver::newest_run() {
  const auto offer = read_offer(offers_);
  return offer.has_value() ? offer->run : "";
}

bool OfferedWeightReceiver::sender_finished() const {
  const auto offer = read_offer(offers_);
  return offer.has_value() && offer->finished;
}

Publication OfferedWeightReceiver::load(std::int64_t step, const model::ModelConfig& config,
                                        const model::WeightSet& spare, const model::WeightSet& live,
                                        ThreadPool* /*pool*/) {
  RLCPP_CHECK(broadcast_ != nullptr);
  const auto offer = read_offer(offers_);
  if (!offer.has_value() || offer->finished || offer->step != step) {
    throw bad_input(fmt::format("the weights of step {} are not offered any more", step),
                    "the trainer has stopped, or goes on from another step", "look at the trainer's log");
  }
  write({offer->number, false});
  done_ = offer->number;
  Publication out = broadcast_->receive(step, named_weights(config, spare), named_weights(config, live));
  out.replay_from = offer->replay_from;
  out.directory = "the trainer's memory";
  return out;
}

OfferedWeightReceiver::~OfferedWeightReceiver() {
  try {
    finish();
  } catch (const Error&) {
  }
}

void OfferedWeightReceiver::finish() {
  if (std::exchange(finished_, true)) return;
  write({done_, true});
}

}  // namespace rlcpp::transport
