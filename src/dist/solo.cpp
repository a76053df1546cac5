#include "dist/carriers.h"
#include "tensor/copy.h"

namespace rlcpp::dist {
namespace {

class Solo final : public Communicator {
 public:
  Solo(World& world, int rank, Device device) : Communicator(world, rank, device) {}
  ~Solo() override { depart(); }
  std::string description() const override { return "solo"; }

 private:
  void run(const Call& call) override {
    if (call.in == call.out || call.entry.count == 0) return;
    const auto seen = [&](void* data) { return Tensor(data, call.entry.type, {call.entry.count}, device()); };
    copy(seen(call.out), seen(const_cast<void*>(call.in)));
  }
};

}  // namespace

std::unique_ptr<Communicator> make_solo(World& world, int rank, Device device) {
  return std::make_unique<Solo>(world, rank, device);
}

}  // namespace rlcpp::dist
