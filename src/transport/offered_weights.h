// Weights over a communicator between a trainer and an orchestrator that are processes of their own. A
// collective needs both at once, so they agree on each publication through two small files first:
//   <trainer>/broadcasts/OFFER.json       weights that the trainer holds still, for whoever takes them
//   <orchestrator>/rollouts/TAKING.json   the offer whose collective the orchestrator now enters
// Each is written whole by one process alone. Every offer has a number that was never used before, so what an
// earlier process left is taken for no answer.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/durable.h"
#include "transport/broadcast.h"
#include "transport/transport.h"

namespace rlcpp::transport {

struct WeightOffer {
  std::string run;
  std::int64_t step = 0, replay_from = 0;  // as in Publication
  std::uint64_t number = 0;
  bool finished = false;  // the trainer has stopped: there will be no other
};
struct WeightTaking {
  std::uint64_t number = 0;  // of the offer
  bool finished = false;     // the orchestrator has stopped, and takes none any more
};
// nullopt: there is no file, or it is none of these.
std::optional<WeightOffer> read_offer(const std::string& folder);
std::optional<WeightTaking> read_taking(const std::string& folder);

class OfferedWeightSender {
 public:
  // offers: the trainer's "broadcasts"; takings: the orchestrator's "rollouts". What an earlier process
  // offered is removed, so construct it before the two meet. `run`: as in Publication.
  OfferedWeightSender(durable::FileLayer& files, std::string offers, std::string takings, std::string run);
  ~OfferedWeightSender();  // finishes, however the process came here
  OfferedWeightSender(const OfferedWeightSender&) = delete;
  OfferedWeightSender& operator=(const OfferedWeightSender&) = delete;

  // Offers the weights, which nobody changes until this returns, and sends them once they are taken. nullopt:
  // stop() came first, or the orchestrator has stopped. Throws runtime_failure naming the orchestrator after
  // the hard limit, and as WeightBroadcast::send().
  std::optional<Publication> publish(WeightBroadcast& broadcast, std::span<const NamedTensor> weights,
                                     std::int64_t step, std::int64_t replay_from, const WaitOptions& wait);
  // The newest publication waited so long to be taken, in seconds.
  double waited() const { return waited_; }
  // The orchestrator has said that it stops.
  bool taker_finished() const;
  // Says that there will be no other offer.
  void finish();

 private:
  void write(const WeightOffer& offer);
  durable::FileLayer& files_;
  std::string offers_, takings_, run_;
  std::uint64_t seed_, count_ = 0;
  double waited_ = 0;
  bool finished_ = false;
};

class OfferedWeightReceiver final : public WeightReceiver {
 public:
  // The folders as above; construct it before the two meet.
  OfferedWeightReceiver(durable::FileLayer& files, std::string offers, std::string takings);
  ~OfferedWeightReceiver() override;  // finishes
  // Before the first load(): what carries the weights. It outlives this.
  void carry_over(WeightBroadcast& broadcast) { broadcast_ = &broadcast; }

  std::optional<std::int64_t> newest(std::int64_t first, std::int64_t last) override;
  std::string newest_run() override;
  // In the type that the decoder reads. bad_input as WeightBroadcast::receive(); an offer that was refused is
  // not looked at again.
  Publication load(std::int64_t step, const model::ModelConfig& config, const model::WeightSet& spare,
                   const model::WeightSet& live, ThreadPool* pool) override;
  // The trainer has said that it stops.
  bool sender_finished() const;
  // Says that no other offer will be taken.
  void finish();

 private:
  void write(const WeightTaking& taking);
  durable::FileLayer& files_;
  std::string offers_, takings_;
  WeightBroadcast* broadcast_ = nullptr;
  std::uint64_t done_ = 0;  // the offer that was taken or refused last
  bool finished_ = false;
};

}  // namespace rlcpp::transport
