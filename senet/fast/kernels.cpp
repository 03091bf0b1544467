// Passes over feature maps on a CPU, one thread, channels last: (N, P, C), images x pixels x channels.
//
//     y = relu(((x - mean) * scale + bias) * gate + shortcut)        scale = weight * inverse
//
// is batch norm, the gate of SE, the sum and the ReLU in one pass; inverse is 1 / sqrt(variance + eps).
// All sums are per image: those of batch norm and of SE's squeeze z, which is the mean of an image of
// (x - mean) * scale + bias, both follow from them.

#include "gates.h"
#include "vectors.h"

namespace {

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

template <class T, int K> struct Passes {
    typedef Arguments<T> A;
    typedef typename T::Stored S;
    typedef typename T::Number R;
    typedef typename T::Vector V;

    static void write(R* to, V value) { memcpy(to, &value, sizeof value); }

    // What is done to a pixel of a group of channels: (x - mean) * scale + shift.
    struct Affine {
        V mean[K], scale[K], shift[K];
        Affine(const A& a, long n, long c) {
            for (int k = 0; k < K; k++, c += LANES) {
                mean[k] = read<V>(a.mean + c);
                scale[k] = read<V>(a.weight + c) * read<V>(a.inverse + c);
                shift[k] = read<V>(a.bias + c);
                if (!a.gate) continue;
                const V gate = read<V>(a.gate + n * a.channels + c);
                scale[k] *= gate;
                shift[k] *= gate;
            }
        }
    };

    // Of each image its mean and, in training, its squared distances from that, summed; then the
    // statistics of all images, and the squeeze where it is asked for.
    static void measure(const A& a) {
        const long N = a.images, P = a.pixels, C = a.channels;
        groups<K>(N, C, [&](long n, long c) {
            const S* from = a.x + n * P * C + c;
            V sum[VECTORS] = {}, square[VECTORS] = {}, centre[K];
            pixels<K>(P, [&](long p, int k, int i) { sum[i] += T::load(from + p * C + k * LANES); });
            fold<K>(sum);
            for (int k = 0; k < K; k++) centre[k] = sum[k] / (R)P;
            memcpy(a.means + n * C + c, centre, sizeof centre);
            if (!a.trains) return;
            pixels<K>(P, [&](long p, int k, int i) {
                V d = T::load(from + p * C + k * LANES) - centre[k];
                square[i] += d * d;
            });
            fold<K>(square);
            memcpy(a.squares + n * C + c, square, sizeof centre);
        });
        for (long c = 0; c < C; c += LANES) {
            if (a.trains) statistics(a, c);
            if (a.z) squeeze(a, a.means, a.z, c);
        }
    }

    // Mean and variance of a vector of channels, from those of the images.
    static void statistics(const A& a, long c) {
        const R N = a.images, P = a.pixels, momentum = a.momentum;
        V mean = {}, variance = {}, inverse = {};
        for (long n = 0; n < a.images; n++) mean += read<V>(a.means + n * a.channels + c);
        mean /= N;
        for (long n = 0; n < a.images; n++) {
            V d = read<V>(a.means + n * a.channels + c) - mean;
            variance += read<V>(a.squares + n * a.channels + c) / P + d * d;
        }
        variance /= N;
        for (int i = 0; i < LANES; i++) inverse[i] = 1 / std::sqrt(variance[i] + (R)a.eps);
        write(a.mean + c, mean);
        write(a.inverse + c, inverse);
        const V before = read<V>(a.running_mean + c), old = read<V>(a.running_var + c);
        write(a.running_mean + c, before + momentum * (mean - before));
        write(a.running_var + c, old + momentum * (variance * (N * P / (N * P - 1)) - old));
    }

    // What batch norm makes of a number of each image, for a vector of channels.
    static void squeeze(const A& a, const R* from, R* to, long c) {
        const V mean = read<V>(a.mean + c), shift = read<V>(a.bias + c);
        const V scale = read<V>(a.weight + c) * read<V>(a.inverse + c);
        for (long at = c; at < a.images * a.channels; at += a.channels)
            write(to + at, (read<V>(from + at) - mean) * scale + shift);
    }

    // Of each image the number whose batch norm is the largest, and how many pixels have it.
    static void extremes(const A& a) {
        const long N = a.images, P = a.pixels, C = a.channels;
        groups<K>(N, C, [&](long n, long c) {
            const S* from = a.x + n * P * C + c;
            V sign[K], best[K], number[VECTORS] = {}, zero = {};
            for (int k = 0; k < K; k++) {
                sign[k] = read<V>(a.weight + c + k * LANES) < zero ? zero - 1 : zero + 1;
                best[k] = T::load(from + k * LANES) * sign[k];
            }
            pixels<K>(P, [&](long p, int k, int) {
                V value = T::load(from + p * C + k * LANES) * sign[k];
                best[k] = best[k] >= value ? best[k] : value;  // NaN is in the mean
            });
            pixels<K>(P, [&](long p, int k, int i) {
                V value = T::load(from + p * C + k * LANES) * sign[k];
                number[i] += value == best[k] ? zero + 1 : zero;
            });
            fold<K>(number);
            for (int k = 0; k < K; k++) best[k] *= sign[k];
            memcpy(a.extreme + n * C + c, best, sizeof best);
            memcpy(a.count + n * C + c, number, sizeof best);
        });
        for (long c = 0; c < C; c += LANES) squeeze(a, a.extreme, a.peak, c);
    }

    static void combine(const A& a) { a.shortcut ? combine<true>(a) : combine<false>(a); }

    template <bool SUM> static void combine(const A& a) {
        const long P = a.pixels, C = a.channels;
        const V zero = {}, least = zero - (R)(a.relu ? 0 : __builtin_inf());
        groups<K>(a.images, C, [&](long n, long c) {
            const long at = n * P * C + c;
            const S *x = a.x + at, *shortcut = SUM ? a.shortcut + at : nullptr;
            S* y = a.y + at;
            const Affine u(a, n, c);
            pixels<K>(P, [&](long p, int k, int) {
                const long here = p * C + k * LANES;
                V value = (T::load(x + here) - u.mean[k]) * u.scale[k] + u.shift[k];
                if (SUM) value += T::load(shortcut + here);
                T::store(y + here, value < least ? least : value);  // NaN stays
            });
        });
    }

    static void reduce(const A& a) { a.kept ? reduce<true>(a) : reduce<false>(a); }

    // The gradient g of what the ReLU was given, from one or two gradients of what it gave; and per
    // image sum(g) and sum(g * (x - mean)), both (N, C), and the gate's. Where there was no shortcut,
    // whether the ReLU was open is computed again, and g is not kept.
    template <bool SUM> static void reduce(const A& a) {
        const long P = a.pixels, C = a.channels, relu = a.relu;
        groups<K>(a.images, C, [&](long n, long c) {
            const long at = n * P * C + c;
            const S *x = a.x + at, *y = SUM && relu ? a.y + at : nullptr, *grad = a.grad + at;
            const S* other = a.other ? a.other + at : nullptr;
            S* kept = SUM ? a.kept + at : nullptr;
            const Affine u(a, n, c);
            V zero = {}, sum[VECTORS] = {}, product[VECTORS] = {};
            pixels<K>(P, [&](long p, int k, int i) {
                const long here = p * C + k * LANES;
                V centred = T::load(x + here) - u.mean[k], g = T::load(grad + here);
                if (SUM) {
                    if (other) g += T::load(other + here);
                    if (relu) g = T::load(y + here) > zero ? g : zero;
                    T::store(kept + here, g);
                } else if (relu) {
                    g = centred * u.scale[k] + u.shift[k] > zero ? g : zero;
                }
                sum[i] += g;
                product[i] += g * centred;
            });
            fold<K>(sum);
            fold<K>(product);
            memcpy(a.sums + n * C + c, sum, sizeof u.mean);
            memcpy(a.products + n * C + c, product, sizeof u.mean);
            if (!a.gate) return;
            for (int k = 0; k < K; k++, c += LANES) {
                V scale = read<V>(a.weight + c) * read<V>(a.inverse + c);
                write(a.gate_grad + n * C + c, product[k] * scale + sum[k] * read<V>(a.bias + c));
            }
        });
    }

    // The gradients of weight and bias of a vector of channels: what they do to all images, at once
    // and by way of the squeeze.
    static void gradients(const A& a, long c) {
        V scale = {}, shift = {}, one = scale + 1;
        const V mean = read<V>(a.mean + c);
        for (long at = c; at < a.images * a.channels; at += a.channels) {
            const V gate = a.gate ? read<V>(a.gate + at) : one;
            scale += gate * read<V>(a.products + at);
            shift += gate * read<V>(a.sums + at);
            if (a.z_grad) {
                scale += read<V>(a.z_grad + at) * (read<V>(a.means + at) - mean);
                shift += read<V>(a.z_grad + at);
            }
            if (a.peak_grad) {
                scale += read<V>(a.peak_grad + at) * (read<V>(a.extreme + at) - mean);
                shift += read<V>(a.peak_grad + at);
            }
        }
        write(a.weight_grad + c, scale * read<V>(a.inverse + c));
        write(a.bias_grad + c, shift);
    }

    // The gradient of x, and those of weight and bias.
    static void spread(const A& a) {
        for (long c = 0; c < a.channels; c += LANES) gradients(a, c);
        if (a.kept)
            a.peak_grad ? spread<true, true>(a) : spread<true, false>(a);
        else
            a.peak_grad ? spread<false, true>(a) : spread<false, false>(a);
    }

    // With c = x - mean: g * scale * gate + constant + slope * c, as mean and variance move with all
    // x, and the squeeze with those of its image; of an extreme number also what its peak gets.
    template <bool SUM, bool PEAK> static void spread(const A& a) {
        const long N = a.images, P = a.pixels, C = a.channels, relu = a.relu;
        const R all = a.trains ? (R)1 / (N * P) : 0;
        groups<K>(N, C, [&](long n, long c) {
            const long at = n * P * C + c;
            const S *x = a.x + at, *grad = (SUM ? a.kept : a.grad) + at;
            S* out = a.out + at;
            const Affine u(a, n, c);
            V constant[K], slope[K], top[K], more[K], zero = {};
            for (int k = 0; k < K; k++, c += LANES) {
                const V inverse = read<V>(a.inverse + c), scale = read<V>(a.weight + c) * inverse;
                constant[k] = -scale * read<V>(a.bias_grad + c) * all;
                slope[k] = -scale * inverse * read<V>(a.weight_grad + c) * all;
                if (a.z_grad) constant[k] += scale * read<V>(a.z_grad + n * C + c) / (R)P;
                if (!PEAK) continue;
                top[k] = read<V>(a.extreme + n * C + c);
                more[k] = scale * read<V>(a.peak_grad + n * C + c) / read<V>(a.count + n * C + c);
            }
            pixels<K>(P, [&](long p, int k, int) {
                const long here = p * C + k * LANES;
                V value = T::load(x + here), centred = value - u.mean[k], g = T::load(grad + here);
                if (!SUM && relu) g = centred * u.scale[k] + u.shift[k] > zero ? g : zero;
                V result = g * u.scale[k] + constant[k] + centred * slope[k];
                if (PEAK) result += value == top[k] ? more[k] : zero;
                T::store(out + here, result);
            });
        });
    }
};

}  // namespace

// Each for as many channels at a time as C, a multiple of 16, allows.
#define EXPORT(PASS, NAME, T)                                          \
    extern "C" void PASS##_##NAME(const Arguments<T>* a) {             \
        if (a->channels % 64 == 0) Passes<T, 64 / LANES>::PASS(*a);    \
        else if (a->channels % 32 == 0) Passes<T, 32 / LANES>::PASS(*a); \
        else Passes<T, 16 / LANES>::PASS(*a);                          \
    }
#define EXPORT_BLOCK(PASS, NAME, T) \
    extern "C" void PASS##_##NAME(const Arguments<T>* a) { Block<T>::PASS(*a); }
#define EXPORTS(NAME, T)                                               \
    EXPORT(measure, NAME, T)                                           \
    EXPORT(extremes, NAME, T)                                          \
    EXPORT(combine, NAME, T)                                           \
    EXPORT(reduce, NAME, T)                                            \
    EXPORT(spread, NAME, T)                                            \
    EXPORT_BLOCK(excite, NAME, T)                                      \
    EXPORT_BLOCK(excite_back, NAME, T)

EXPORTS(bfloat16, Bfloat16)
EXPORTS(float32, Float)
EXPORTS(float64, Double)
