// Vectors of numbers, as wide as the instructions allow, and what all functions are given.
//
// Numbers are stored as bfloat16, float or double, and computed as float, float and double.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

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

template <class T> T read(const void* from) {
    T value;
    memcpy(&value, from, sizeof(T));
    return value;
}

struct Bfloat16 {
    typedef uint16_t Stored;
    typedef float Number;
    typedef Floats Vector;
    static Vector load(const Stored* from) {
        return (Vector)(__builtin_convertvector(read<Halves>(from), Words) << 16);
    }
    static void store(Stored* to, Vector value) {  // to the nearest, ties to even
        Words bits = (Words)value;
        bits = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
        Halves halves = __builtin_convertvector(bits, Halves);
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
