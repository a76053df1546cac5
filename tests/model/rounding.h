// How far a back end that computes in bf16 may be from the CPU's f32: a bound made for each model and row.
//
// The measure is what the smallest unavoidable roundings do. Every weight of the f32 model is moved by a
// random relative amount of up to 2^-8, one rounding to bf16, and the change of every result is taken, as the
// Euclidean norm over the tensor, the largest of three draws. A bf16 run has its weights exactly (the tests
// give it bf16 values) and rounds its activations instead, where docs/numerics.md says: of the same size,
// independent, so that they add as squares. A forward in float64 with those roundings written in, on models
// of these shapes, was off by 0.65 to 0.85 times the measure. The backward rounds about twice as often, small
// tensors have norms that are random themselves, and golden weights may be no bf16 values (one unit more):
// hence the factor. A wrong term is far outside: see BoundsSeeWrongTerms in decoder_test.cpp.
#pragma once

#include "model/harness.h"

namespace rlcpp::model {

constexpr double kRoundings = 5;

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
