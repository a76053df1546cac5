// Keys of the optimizer and the schedule, with the reference's names and defaults (prime-rl
// trainer/config.py, January 2026).
#include <fmt/format.h>

#include <limits>

#include "train/trainer.h"

namespace rlcpp::train {
namespace {

// As a bound: the value must be finite.
constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

void OptimConfig::describe(config::Schema& s) {
  s.field("type", type,
          "Optimizer: adamw (decoupled weight decay on every parameter); sgd (weight decay is a part of the "
          "gradient, as in torch); sign_sgd (the sign of the gradient alone, decoupled weight decay); muon "
          "(matrices of "
          "layers by orthogonal directions, the rest by adamw).")
      .one_of({"adamw", "sgd", "sign_sgd", "muon"});
  s.field("moments", moments,
          "Type that the moments are kept in; bfloat16 halves their memory, is rounded stochastically, and "
          "needs a "
          "GPU.")
      .one_of({"float32", "bfloat16"});
  s.field("lr", lr, "Peak learning rate.").at_least(0).below(kInfinity).alias("learning_rate");
  s.field("weight_decay", weight_decay, "Decoupled weight decay, multiplied by the learning rate.")
      .at_least(0)
      .below(kInfinity);
  s.field("max_norm", max_norm, "Gradients are scaled down to this global norm; None: no clipping.")
      .above(0)
      .alias("max_grad_norm");
  s.field(
       "skip_norm", skip_norm,
       "A step whose gradient norm, before max_norm, is above this is skipped as one that is not finite is, "
       "and counts for max_nonfinite_steps; None: none is.")
      .above(0);
  s.field("betas1", betas1, "Decay of the first moment.").at_least(0).below(1).alias("adam_beta1");
  s.field("betas2", betas2, "Decay of the second moment.").at_least(0).below(1).alias("adam_beta2");
  s.field("eps", eps, "Added to the root of the second moment.")
      .above(0)
      .below(kInfinity)
      .alias("adam_epsilon");
  s.field("momentum", momentum, "sgd: share of the direction before that is kept; 0: no momentum.")
      .at_least(0)
      .below(1);
  s.field("nesterov", nesterov, "sgd: Nesterov's momentum.");
  s.field("mu", mu, "muon: share of a matrix's direction before that is kept.").at_least(0).below(1);
}

void OptimConfig::validate() const {
  if (type != "adamw" && moments == "bfloat16") {
    throw bad_input(fmt::format("optim.moments = \"bfloat16\" has no effect on optim.type = \"{}\"", type),
                    "only the moments of adamw are kept rounded", "remove one of them");
  }
  const OptimConfig fresh;
  const auto unread = [&](const char* key, bool changed, const char* reader) {
    if (!changed || type == reader) return;
    throw bad_input(fmt::format("optim.{} has no effect on optim.type = \"{}\"", key, type),
                    fmt::format("only {} reads it", reader),
                    fmt::format("remove it, or set optim.type = \"{}\"", reader));
  };
  unread("momentum", momentum != fresh.momentum, "sgd");
  unread("nesterov", nesterov != fresh.nesterov, "sgd");
  unread("mu", mu != fresh.mu, "muon");
}

void SchedulerConfig::describe(config::Schema& s) {
  s.field("type", type,
          "Shape of the learning rate: constant; linear (warm-up, hold, linear decay); cosine (warm-up, then "
          "half a "
          "cosine to min_lr).")
      .one_of({"constant", "linear", "cosine"})
      .alias("lr_scheduler_type");
  s.field("warmup_steps", warmup_steps, "Linear warm-up of linear and cosine.").at_least(0).in("steps");
  s.field("decay_steps", decay_steps,
          "Linear decay at the end of the run, type linear; needs max_steps when above 0.")
      .at_least(0)
      .in("steps");
  s.field("min_lr", min_lr, "Learning rate at the start of warm-up and the end of decay.")
      .at_least(0)
      .below(kInfinity);
}

}  // namespace rlcpp::train
