// Passes over feature maps on a CPU, one thread, channels last: (N, P, C), images x pixels x channels.
//
// With c = x - mean: y = relu(c * scale + shift + shortcut) is batch norm, the gate of SE, the sum
// and the ReLU in one pass; scale and shift are (C,) or, with a gate, (N, C). All sums are per image:
// those of batch norm and of SE's squeeze both follow from them.
//
// Numbers are stored as bfloat16, float or double, and computed as float, float and double.

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

// Calls f(image, channel) for each image and each group of K vectors of channels.
template <int K, class F> void groups(long images, long channels, F f) {
    for (long n = 0; n < images; n++)
        for (long c = 0; c < channels; c += K * LANES) f(n, c);
}

// Calls f(pixel, vector of the group, sum to add to) for each vector of a group.
template <int K, class F> void pixels(long count, F f) {
    constexpr int AT_ONCE = VECTORS / K;
    long p = 0;
    for (; p + AT_ONCE <= count; p += AT_ONCE)
#pragma GCC unroll 16
        for (int i = 0; i < VECTORS; i++) f(p + i / K, i % K, i);
    for (; p < count; p++)
#pragma GCC unroll 16
        for (int k = 0; k < K; k++) f(p, k, k);
}

// Adds up the sums of the pixels that were under way at a time; the first K are the group's.
template <int K, class V> void fold(V* sums) {
    for (int i = K; i < VECTORS; i++) sums[i % K] += sums[i];
}

template <class T, int K> struct Kernels {
    typedef typename T::Stored S;
    typedef typename T::Number R;
    typedef typename T::Vector V;

    // mean (N, C) of each image, and its squared distances from that, summed, where there is room.
    static void moments(const S* x, R* mean, R* squares, long N, long P, long C) {
        groups<K>(N, C, [=](long n, long c) {
            const S* from = x + n * P * C + c;
            V sum[VECTORS] = {}, square[VECTORS] = {}, centre[K];
            pixels<K>(P, [&](long p, int k, int i) { sum[i] += T::load(from + p * C + k * LANES); });
            fold<K>(sum);
            for (int k = 0; k < K; k++) centre[k] = sum[k] / (R)P;
            memcpy(mean + n * C + c, centre, sizeof centre);
            if (!squares) return;
            pixels<K>(P, [&](long p, int k, int i) {
                V d = T::load(from + p * C + k * LANES) - centre[k];
                square[i] += d * d;
            });
            fold<K>(square);
            memcpy(squares + n * C + c, square, sizeof centre);
        });
    }

    // The largest number (N, C) of each image times sign (C,), and how many pixels have it.
    static void extremes(const S* x, const R* sign, R* extreme, R* count, long N, long P, long C) {
        groups<K>(N, C, [=](long n, long c) {
            const S* from = x + n * P * C + c;
            V s[K], best[K], number[VECTORS] = {}, zero = {};
            memcpy(s, sign + c, sizeof s);
            for (int k = 0; k < K; k++) best[k] = T::load(from + k * LANES) * s[k];
            pixels<K>(P, [&](long p, int k, int) {
                V value = T::load(from + p * C + k * LANES) * s[k];
                best[k] = best[k] >= value ? best[k] : value;  // NaN is in the mean
            });
            pixels<K>(P, [&](long p, int k, int i) {
                V value = T::load(from + p * C + k * LANES) * s[k];
                number[i] += value == best[k] ? zero + 1 : zero;
            });
            fold<K>(number);
            for (int k = 0; k < K; k++) best[k] *= s[k];
            memcpy(extreme + n * C + c, best, sizeof best);
            memcpy(count + n * C + c, number, sizeof best);
        });
    }

    // y = relu((x - mean) * scale + shift + shortcut); `step` is C where scale and shift are (N, C).
    template <bool SUM>
    static void combine(const S* x, const R* mean, const R* scale, const R* shift, long step,
                        const S* shortcut, long relu, S* y, long N, long P, long C) {
        const V zero = {}, least = zero - (R)(relu ? 0 : __builtin_inf());
        groups<K>(N, C, [=](long n, long c) {
            const long at = n * P * C + c;
            V m[K], a[K], b[K];
            memcpy(m, mean + c, sizeof m);
            memcpy(a, scale + n * step + c, sizeof a);
            memcpy(b, shift + n * step + c, sizeof b);
            pixels<K>(P, [&](long p, int k, int) {
                const long here = at + p * C + k * LANES;
                V value = (T::load(x + here) - m[k]) * a[k] + b[k];
                if (SUM) value += T::load(shortcut + here);
                T::store(y + here, value < least ? least : value);  // NaN stays
            });
        });
    }

    // The gradient g of what the ReLU was given, from one or two gradients of what it gave; and per
    // image sum(g) and sum(g * (x - mean)), both (N, C). Where there was no shortcut, whether the
    // ReLU was open is computed again, and g is not kept.
    template <bool SUM>
    static void reduce(const S* x, const R* mean, const R* scale, const R* shift, long step,
                       const S* y, long relu, const S* grad, const S* other, S* kept, R* sums,
                       R* products, long N, long P, long C) {
        groups<K>(N, C, [=](long n, long c) {
            const long at = n * P * C + c;
            V m[K], a[K], b[K], zero = {}, sum[VECTORS] = {}, product[VECTORS] = {};
            memcpy(m, mean + c, sizeof m);
            memcpy(a, scale + n * step + c, sizeof a);
            memcpy(b, shift + n * step + c, sizeof b);
            pixels<K>(P, [&](long p, int k, int i) {
                const long here = at + p * C + k * LANES;
                V centred = T::load(x + here) - m[k], g = T::load(grad + here);
                if (SUM) {
                    if (other) g += T::load(other + here);
                    if (relu) g = T::load(y + here) > zero ? g : zero;
                    T::store(kept + here, g);
                } else if (relu) {
                    g = centred * a[k] + b[k] > zero ? g : zero;
                }
                sum[i] += g;
                product[i] += g * centred;
            });
            fold<K>(sum);
            fold<K>(product);
            memcpy(sums + n * C + c, sum, sizeof m);
            memcpy(products + n * C + c, product, sizeof m);
        });
    }

    // g * scale + constant + slope * (x - mean), the gradient of x; constant is (N, C), slope (C,).
    // With PEAK, more (N, C) is added where x is extreme (N, C).
    template <bool SUM, bool PEAK>
    static void spread(const S* x, const R* mean, const R* scale, const R* shift, long step,
                       long relu, const S* grad, const R* constant, const R* slope,
                       const R* extreme, const R* more, S* out, long N, long P, long C) {
        groups<K>(N, C, [=](long n, long c) {
            const long at = n * P * C + c;
            V m[K], a[K], b[K], d[K], e[K], top[K], add[K], zero = {};
            memcpy(m, mean + c, sizeof m);
            memcpy(a, scale + n * step + c, sizeof a);
            memcpy(b, shift + n * step + c, sizeof b);
            memcpy(d, constant + n * C + c, sizeof d);
            memcpy(e, slope + c, sizeof e);
            if (PEAK) memcpy(top, extreme + n * C + c, sizeof top);
            if (PEAK) memcpy(add, more + n * C + c, sizeof add);
            pixels<K>(P, [&](long p, int k, int) {
                const long here = at + p * C + k * LANES;
                V value = T::load(x + here), centred = value - m[k], g = T::load(grad + here);
                if (!SUM && relu) g = centred * a[k] + b[k] > zero ? g : zero;
                V result = g * a[k] + d[k] + centred * e[k];
                if (PEAK) result += value == top[k] ? add[k] : zero;
                T::store(out + here, result);
            });
        });
    }
};

}  // namespace

#define COMMA ,
// Each for as many channels at a time as C, a multiple of 16, allows.
#define FOR_CHANNELS(T, CALL)                                                    \
    if (C % 64 == 0) { typedef Kernels<T, 64 / LANES> Of; Of::CALL; }            \
    else if (C % 32 == 0) { typedef Kernels<T, 32 / LANES> Of; Of::CALL; }       \
    else { typedef Kernels<T, 16 / LANES> Of; Of::CALL; }

#define KERNELS(NAME, T)                                                                           \
    typedef T::Stored S_##NAME;                                                                    \
    typedef T::Number R_##NAME;                                                                    \
    extern "C" void moments_##NAME(const S_##NAME* x, R_##NAME* mean, R_##NAME* squares, long N,   \
                                   long P, long C) {                                               \
        FOR_CHANNELS(T, moments(x, mean, squares, N, P, C))                                        \
    }                                                                                              \
    extern "C" void combine_##NAME(const S_##NAME* x, const R_##NAME* mean, const R_##NAME* scale, \
                                   const R_##NAME* shift, long step, const S_##NAME* shortcut,     \
                                   long relu, S_##NAME* y, long N, long P, long C) {                \
        if (shortcut) {                                                                            \
            FOR_CHANNELS(T, template combine<true>(x, mean, scale, shift, step, shortcut, relu, y, \
                                                   N, P, C))                                       \
        } else {                                                                                   \
            FOR_CHANNELS(T, template combine<false>(x, mean, scale, shift, step, shortcut, relu,   \
                                                    y, N, P, C))                                   \
        }                                                                                          \
    }                                                                                              \
    extern "C" void reduce_##NAME(const S_##NAME* x, const R_##NAME* mean, const R_##NAME* scale,  \
                                  const R_##NAME* shift, long step, const S_##NAME* y, long relu,   \
                                  const S_##NAME* grad, const S_##NAME* other, S_##NAME* kept,     \
                                  R_##NAME* sums, R_##NAME* products, long N, long P, long C) {    \
        if (kept) {                                                                                \
            FOR_CHANNELS(T, template reduce<true>(x, mean, scale, shift, step, y, relu, grad,      \
                                                  other, kept, sums, products, N, P, C))           \
        } else {                                                                                   \
            FOR_CHANNELS(T, template reduce<false>(x, mean, scale, shift, step, y, relu, grad,     \
                                                   other, kept, sums, products, N, P, C))          \
        }                                                                                          \
    }                                                                                              \
    extern "C" void extremes_##NAME(const S_##NAME* x, const R_##NAME* sign, R_##NAME* extreme,    \
                                    R_##NAME* count, long N, long P, long C) {                     \
        FOR_CHANNELS(T, extremes(x, sign, extreme, count, N, P, C))                                \
    }                                                                                              \
    extern "C" void spread_##NAME(const S_##NAME* x, const R_##NAME* mean, const R_##NAME* scale,  \
                                  const R_##NAME* shift, long step, long sum, long relu,           \
                                  const S_##NAME* grad, const R_##NAME* constant,                  \
                                  const R_##NAME* slope, const R_##NAME* extreme,                  \
                                  const R_##NAME* more, S_##NAME* out, long N, long P, long C) {   \
        if (sum && extreme) {                                                                      \
            FOR_CHANNELS(T, template spread<true COMMA true>(x, mean, scale, shift, step, relu,    \
                         grad, constant, slope, extreme, more, out, N, P, C))                      \
        } else if (sum) {                                                                          \
            FOR_CHANNELS(T, template spread<true COMMA false>(x, mean, scale, shift, step, relu,   \
                         grad, constant, slope, extreme, more, out, N, P, C))                      \
        } else if (extreme) {                                                                      \
            FOR_CHANNELS(T, template spread<false COMMA true>(x, mean, scale, shift, step, relu,   \
                         grad, constant, slope, extreme, more, out, N, P, C))                      \
        } else {                                                                                   \
            FOR_CHANNELS(T, template spread<false COMMA false>(x, mean, scale, shift, step, relu,  \
                         grad, constant, slope, extreme, more, out, N, P, C))                      \
        }                                                                                          \
    }

KERNELS(bfloat16, Bfloat16)
KERNELS(float32, Float)
KERNELS(float64, Double)
