// Keys of the optimizer and the schedule, with the reference's names and defaults (prime-rl
// trainer/config.py, January 2026).
#include <limits>

#include "train/trainer.h"

namespace rlcpp::train {
namespace {

// As a bound: the value must be finite.
constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

void OptimConfig::describe(config::Schema& s) {
  s.field("type", type, "Optimizer: AdamW with decoupled weight decay on every parameter.").one_of({"adamw"});
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
  s.field("betas1", betas1, "Decay of the first moment.").at_least(0).below(1).alias("adam_beta1");
  s.field("betas2", betas2, "Decay of the second moment.").at_least(0).below(1).alias("adam_beta2");
  s.field("eps", eps, "Added to the root of the second moment.")
      .above(0)
      .below(kInfinity)
      .alias("adam_epsilon");
  s.refused("momentum",
            "optim.momentum belongs to SGD, which rlcpp does not have yet: remove it, or set optim.betas1");
  s.refused("nesterov", "optim.nesterov belongs to SGD, which rlcpp does not have yet: remove it");
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
