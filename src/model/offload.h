// A tensor of each block, such as its input, that leaves the device while it is not needed. Layer l's lies in
// slot l mod S of the device. In the forward it is copied out while later blocks run, and the slot is filled
// anew S blocks later; those of the last S blocks stay. In the backward a slot that its block has done with
// takes the tensor of the block S below, while the S - 1 between them run.
//
// One queue makes all copies in order, so what comes back has gone out before. The operations of the forward
// have waited for every copy out by its end, and those of the backward for every copy back, so that nothing
// is under way between them.
#pragma once

#include <vector>

#include "ops/copy_queue.h"

namespace rlcpp::model {

class Offloaded {
 public:
  // `slots` [S], each [max_tokens, width]; `host` one such tensor for each layer but the last S.
  Offloaded(const ops::Context& ctx, std::vector<Tensor> slots, std::vector<Tensor> host);

  // Forward: before operations write the tensor of `layer`, and after they have.
  void before_written(std::size_t layer) const;
  void written(std::size_t layer, std::int64_t tokens);
  // Backward: before operations read the tensor of `layer`, and after the last of them has. `lowest`: the
  // lowest layer whose tensor will be read.
  void before_read(std::size_t layer) const;
  void read(std::size_t layer, std::size_t lowest, std::int64_t tokens);

 private:
  bool leaves(std::size_t layer) const { return layer < host_.size(); }

  std::vector<Tensor> slots_, host_;
  ops::CopyQueue queue_;  // marks: a layer's copy out, then its copy back
};

}  // namespace rlcpp::model
