// How far a back end that computes in bf16 may be from the CPU's f32: a bound made for each model and row.
//
// The measure is what the smallest unavoidable roundings do. Every weight of the f32 model is moved by a
// random relative amount of up to 2^-8, one rounding to bf16, and the change of every result is taken, as the
// Euclidean norm over the tensor, the largest of three draws. A bf16 run has its weights exactly (the tests
// give it bf16 values) and rounds its activations instead: of each product the input and the output, the norm
// between, the residual stream twice a block, probabilities inside attention; and the same again for
// gradients. Each is as large as the rounding of a weight, and independent ones add as squares, so a dozen of
// them come to three or four times the measure. kRoundings leaves a factor for small tensors, whose norm is
// itself random. A wrong term is far outside: see Bounds.SeeWrongTerms in decoder_test.cpp.
#pragma once

#include "model/harness.h"

namespace rlcpp::model {

constexpr double kRoundings = 8;

// Everything that a model says of a row.
struct Outcome {
  std::vector<float> hidden, logits;
  double loss = 0;
  std::vector<std::vector<float>> gradients;  // in the order of parameter_list
};
Outcome outcome(TestModel& model, const Row& row);

// Euclidean norm of a - b; infinite if a number is not finite.
double distance(std::span<const float> a, std::span<const float> b);

// Bounds of distance() to the f32 result; all zero for the CPU, whose results are the same bits.
struct Bounds {
  double hidden = 0, logits = 0, loss = 0;
  std::vector<double> gradients;
};
// `reference` is a model on the CPU; its weights are as before afterwards.
Bounds rounding_bounds(TestModel& reference, const Row& row, std::mt19937_64& random);

// Asserts that `actual` lies within `bounds` of `expected`.
void expect_within(const Bounds& bounds, const Outcome& actual, const Outcome& expected,
                   const ModelConfig& config);

}  // namespace rlcpp::model
