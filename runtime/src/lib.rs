//! Runs compiled Cygnet programs: tensors, arena, thread team, micro-kernels and random numbers.
