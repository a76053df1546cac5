// The sections of gpu_facts: each prints its lines with emit() and is run in a process of its own.
#pragma once

namespace gpu_facts {

void device_section();     // name, clocks, memory of a bare context and of the libraries, bandwidths
void launch_section();     // graphs of tiny kernels, programmatic dependent launch, plain launches
void attention_section();  // cuDNN forward and backward, dense and variable length, bits and workspace
void matmul_section();     // does a row of a cuBLASLt product depend on M, and what does one fixed algorithm
                           // cost
void algos_section();      // do different algorithms give the same bits
void order_section();      // accumulation over K chunks and our own kernel with a fixed K order

}  // namespace gpu_facts
