// One source for scalar and SIMD code: the compiler makes a copy of a marked function for each instruction set, and the loader picks
// the best one that the processor has.
//
// Bits do not depend on the pick: the library is compiled with -ffp-contract=off, which holds in every copy, so no copy fuses a
// multiply with an add, and without -ffast-math no copy reassociates. Integer code is exact anyway.
#ifndef TRIBUTARY_OPTIM_SIMD_H_
#define TRIBUTARY_OPTIM_SIMD_H_

// Put before the definition of a function with plain pointer arguments; what it calls must be inlined into it to gain.
//
// Off under sanitizers (the loader's resolvers run before their runtime is ready), where there are no resolvers (not glibc on x86-64),
// and with -DTRIBUTARY_NO_SIMD_CLONES, which the bit-exactness tests use to compare with.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define TRIBUTARY_NO_SIMD_CLONES 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TRIBUTARY_NO_SIMD_CLONES 1
#endif

#if !defined(TRIBUTARY_NO_SIMD_CLONES) && defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__)
#define TRIBUTARY_SIMD_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define TRIBUTARY_SIMD_CLONES
#endif

#endif  // TRIBUTARY_OPTIM_SIMD_H_
