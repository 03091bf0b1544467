// Vectors of numbers, as wide as the instructions allow, and what all functions are given.
//
// Numbers are stored as bfloat16, float or double, and computed as float, float and double.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr long WIDTH = 64;  // bytes of a vector: those of a register, as compilers split others badly
#elif defined(__AVX__)
constexpr long WIDTH = 32;
#else  // SSE2, NEON
constexpr long WIDTH = 16;
#endif
constexpr long LANES = WIDTH / sizeof(float);  // of a vector
// Under way at a time, so that no sum waits for the one before: 64 numbers for every width, and so
// the sums are added up in the same order.
constexpr int VECTORS = 64 / LANES;

typedef float Floats __attribute__((vector_size(WIDTH)));
typedef double Doubles __attribute__((vector_size(2 * WIDTH)));
typedef uint32_t Words __attribute__((vector_size(WIDTH)));
typedef uint16_t Halves __attribute__((vector_size(WIDTH / 2)));

// Of 64 bytes each is one instruction, which gcc 12 makes five of where it is left to it.
#if defined(__AVX512F__)
inline Words widen(Halves halves) { return (Words)_mm512_cvtepu16_epi32((__m256i)halves); }
inline Halves narrow(Words words) { return (Halves)_mm512_cvtepi32_epi16((__m512i)words); }
#else
inline Words widen(Halves halves) { return __builtin_convertvector(halves, Words); }
inline Halves narrow(Words words) { return __builtin_convertvector(words, Halves); }
#endif

template <class T> T read(const void* from) {
    T value;
    memcpy(&value, from, sizeof(T));
    return value;
}

struct Bfloat16 {
    typedef uint16_t Stored;
    typedef float Number;
    typedef Floats Vector;
    // Maps are read from memory, and of two bytes a number the processor asks for too little ahead.
    static constexpr long AHEAD = 2048;  // numbers
    static Vector load(const Stored* from) {
        __builtin_prefetch(from + AHEAD, 0, 2);
        return (Vector)(widen(read<Halves>(from)) << 16);
    }
    static void store(Stored* to, Vector value) {  // to the nearest, ties to even
        Words bits = (Words)value;
        bits = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
        const Halves halves = narrow(bits);
        memcpy(to, &halves, sizeof halves);
    }
};

template <class T, class V> struct Plain {
    typedef T Stored;
    typedef T Number;
    typedef V Vector;
    static Vector load(const Stored* from) { return read<V>(from); }
    static void store(Stored* to, Vector value) { memcpy(to, &value, sizeof value); }
};
typedef Plain<float, Floats> Float;
typedef Plain<double, Doubles> Double;

// What is read and written, null where there is none; in this order in kernels.py, too.
template <class T> struct Arguments {
    typedef typename T::Stored S;
    typedef typename T::Number R;
    long images, pixels, channels;
    long relu, trains;  // whether there is one; whether mean and variance are those of x
    long units, function;  // of the block: H, and which gate it has
    double eps, momentum;
    const S *x, *shortcut;
    S* y;
    const S *grad, *other;  // of y, which is given twice where there is a shortcut
    S *kept, *out;          // the gradients of the shortcut, and of x
    // (C,)
    R *mean, *inverse, *running_mean, *running_var;
    const R *weight, *bias;
    R *weight_grad, *bias_grad;
    // (N, C)
    R *means, *squares, *z, *extreme, *count, *peak;
    R* gate;
    R *sums, *products, *gate_grad;
    R *z_grad, *peak_grad;
    // of the block: (H, C), (H,), (C, H), (C,), and their gradients
    const R *w1, *b1, *w2, *b2;
    R *w1_grad, *b1_grad, *w2_grad, *b2_grad;
    R *hidden, *hidden_peak;  // (N, H), of z and of the peak
};

}  // namespace
