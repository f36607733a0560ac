// Attention as one pass: scores, bias, softmax, pooling, and the 8-bit rounding after it; and that of a decoder's one
// position over all states.
//
// Compiled for the machine at hand by attention.py and called through ctypes. It needs AVX-512 with bf16 dot products;
// without them `lanes` returns 0 and the caller goes another way.
//
// Dimensions: T tokens, L of one input, H heads, K head width, D model; `packed` buffers hold two bf16 numbers in 32 bits,
// which is what one dot-product instruction multiplies and adds.

#include <cstdint>
#include <cstdlib>
#include <cstring>

#if defined(__AVX512BF16__) && defined(__AVX512F__) && defined(__AVX512BW__)
#include <immintrin.h>

namespace {

constexpr int LANES = 16;
constexpr int ROWS = 6;     // 6 rows x 4 vectors of sums leave 8 of 32 registers for operands
constexpr int VECTORS = 4;
constexpr float TINY = 1e-12f;
constexpr float MIDDLE = 128.0f;

inline __m512bh as_bf16(__m512i packed) { return (__m512bh)packed; }

inline __m512bh broadcast(const uint32_t* packed) { return as_bf16(_mm512_set1_epi32((int)*packed)); }

// exp(x) for x <= 0: 2^n times a polynomial of the rest, within 2e-7 of the true value.
inline __m512 exponential(__m512 x) {
    x = _mm512_max_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _mm512_set1_ps(-126.0f));
    const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 rest = _mm512_sub_ps(x, whole);
    __m512 sum = _mm512_set1_ps(1.3333558e-3f);
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(9.6181291e-3f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(5.5504109e-2f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(2.4022651e-1f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(6.9314718e-1f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(sum, whole);
}

// sums[R][V] = left (R rows of `depth` packed numbers) times right (`depth` rows of packed columns).
template <int R, int V>
inline void multiply(const uint32_t* left, long left_stride, const uint32_t* right, long right_stride, long depth,
                     __m512 (&sums)[R][V]) {
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) sums[r][v] = _mm512_setzero_ps();
    for (long d = 0; d < depth; ++d) {
        __m512bh columns[V];
        for (int v = 0; v < V; ++v) columns[v] = as_bf16(_mm512_loadu_si512(right + d * right_stride + v * LANES));
        for (int r = 0; r < R; ++r) {
            const __m512bh row = broadcast(left + r * left_stride + d);
            for (int v = 0; v < V; ++v) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], row, columns[v]);
        }
    }
}

struct Head {
    const uint32_t* query;   // [L, K/2] packed, rows `query_stride` apart
    long query_stride;
    const float* scale;      // [padded L] of each token; 1 where the numbers are whole already
    const float* bias;       // bias[j - i] of this head
    const uint32_t* key;     // [K/2, padded L] packed
    const uint32_t* value;   // [padded L / 2, K] packed
    long length, padded, width;
};

template <int R, int V>
inline void score_columns(const Head& head, long row, long column, float* scores) {
    __m512 sums[R][V];
    multiply<R, V>(head.query + row * head.query_stride, head.query_stride, head.key + column, head.padded,
                   head.width / 2, sums);
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) {
            const long j = column + v * LANES;
            const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(head.scale[row + r]), _mm512_loadu_ps(head.scale + j));
            const __m512 bias = _mm512_loadu_ps(head.bias + j - (row + r));
            _mm512_storeu_ps(scores + r * head.padded + j, _mm512_fmadd_ps(sums[r][v], scale, bias));
        }
}

// Turns a row of scores into packed weights times the value's scale; returns 1 / sum of the weights.
inline float soften(const float* scale, long length, long padded, const float* scores, uint16_t* weights) {
    const __mmask16 last = (__mmask16)(0xFFFFu >> (padded - length));
    const long end = padded - LANES;  // the last vector may hold columns that are not there
    const __m512 nothing = _mm512_set1_ps(-3.0e38f);
    __m512 top = _mm512_mask_loadu_ps(nothing, last, scores + end);
    for (long j = 0; j < end; j += LANES) top = _mm512_max_ps(top, _mm512_loadu_ps(scores + j));
    const __m512 largest = _mm512_set1_ps(_mm512_reduce_max_ps(top));
    __m512 total = _mm512_setzero_ps();
    for (long j = 0; j <= end; j += LANES) {
        __m512 weight = exponential(_mm512_sub_ps(_mm512_loadu_ps(scores + j), largest));
        if (j == end) weight = _mm512_maskz_mov_ps(last, weight);
        total = _mm512_add_ps(total, weight);
        const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_mul_ps(weight, _mm512_loadu_ps(scale + j)));
        _mm256_storeu_si256((__m256i*)(weights + j), (__m256i)rounded);
    }
    return 1.0f / _mm512_reduce_add_ps(total);
}

// R rows of one head, from scores to pooled values; `pooled` has rows `pooled_stride` apart.
template <int R>
void attend_rows(const Head& head, long row, float* scores, uint16_t* weights, float* pooled, long pooled_stride) {
    long column = 0;
    for (; column + VECTORS * LANES <= head.padded; column += VECTORS * LANES)
        score_columns<R, VECTORS>(head, row, column, scores);
    switch ((head.padded - column) / LANES) {
        case 3: score_columns<R, 3>(head, row, column, scores); break;
        case 2: score_columns<R, 2>(head, row, column, scores); break;
        case 1: score_columns<R, 1>(head, row, column, scores); break;
    }
    float inverse[R];
    for (int r = 0; r < R; ++r)
        inverse[r] =
            soften(head.scale, head.length, head.padded, scores + r * head.padded, weights + r * head.padded);
    for (long k = 0; k < head.width; k += 2 * LANES) {
        __m512 sums[R][2];
        multiply<R, 2>((const uint32_t*)weights, head.padded / 2, head.value + k, head.width, (head.length + 1) / 2,
                       sums);
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < 2; ++v)
                _mm512_storeu_ps(pooled + (row + r) * pooled_stride + k + v * LANES,
                                 _mm512_mul_ps(sums[r][v], _mm512_set1_ps(inverse[r])));
    }
}

void attend_head(const Head& head, float* scores, uint16_t* weights, float* pooled, long pooled_stride) {
    long row = 0;
    for (; row + ROWS <= head.length; row += ROWS)
        attend_rows<ROWS>(head, row, scores, weights, pooled, pooled_stride);
    switch (head.length - row) {
        case 5: attend_rows<5>(head, row, scores, weights, pooled, pooled_stride); break;
        case 4: attend_rows<4>(head, row, scores, weights, pooled, pooled_stride); break;
        case 3: attend_rows<3>(head, row, scores, weights, pooled, pooled_stride); break;
        case 2: attend_rows<2>(head, row, scores, weights, pooled, pooled_stride); break;
        case 1: attend_rows<1>(head, row, scores, weights, pooled, pooled_stride); break;
    }
}

// A block of 16 x 16 packed numbers with rows and columns exchanged; only `rows` rows are there.
inline void transpose(const uint32_t* from, long from_stride, long rows, uint32_t* to, long to_stride) {
    __m512i a[LANES], b[LANES];
    for (int i = 0; i < LANES; ++i)
        a[i] = i < rows ? _mm512_loadu_si512(from + i * from_stride) : _mm512_setzero_si512();
    for (int i = 0; i < LANES; i += 2) {  // pairs of numbers
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    for (int i = 0; i < LANES; i += 4) {  // fours
        a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    for (int i = 0; i < LANES; i += 8)  // eights
        for (int j = 0; j < 4; ++j) {
            b[i + j] = _mm512_shuffle_i32x4(a[i + j], a[i + j + 4], 0x88);
            b[i + j + 4] = _mm512_shuffle_i32x4(a[i + j], a[i + j + 4], 0xDD);
        }
    for (int j = 0; j < 8; ++j) {
        _mm512_storeu_si512(to + j * to_stride, _mm512_shuffle_i32x4(b[j], b[j + 8], 0x88));
        _mm512_storeu_si512(to + (j + 8) * to_stride, _mm512_shuffle_i32x4(b[j], b[j + 8], 0xDD));
    }
}

// Two rows of bf16 numbers, side by side in 32 bits; no second row means zeros.
inline __m512i interleave(const uint16_t* even, const uint16_t* odd) {
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)even));
    if (!odd) return low;
    const __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)odd));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

// Keys by feature, values by pairs of tokens: the order in which `multiply` reads them.
void pack(const uint16_t* key, const uint16_t* value, long stride, long length, long padded, long width,
          uint32_t* packed_key, uint32_t* packed_value) {
    for (long j = 0; j < length; j += LANES)
        for (long k = 0; k < width / 2; k += LANES)
            transpose((const uint32_t*)(key + j * stride) + k, stride / 2, length - j, packed_key + k * padded + j,
                      padded);
    for (long j = 0; j < length; j += 2) {
        const uint16_t* even = value + j * stride;
        uint32_t* row = packed_value + j / 2 * width;
        for (long k = 0; k < width; k += LANES)
            _mm512_storeu_si512(row + k, interleave(even + k, j + 1 < length ? even + stride + k : nullptr));
    }
}

// A token's values as bytes around MIDDLE and the scale that gives them back.
void round_to_bytes(const float* values, long count, uint8_t* bytes, float* scale) {
    __m512 top = _mm512_setzero_ps();
    for (long k = 0; k < count; k += LANES) top = _mm512_max_ps(top, _mm512_abs_ps(_mm512_loadu_ps(values + k)));
    float largest = _mm512_reduce_max_ps(top);
    if (largest < TINY) largest = TINY;
    const __m512 factor = _mm512_set1_ps(127.0f / largest), middle = _mm512_set1_ps(MIDDLE + 0.5f);
    for (long k = 0; k < count; k += LANES) {
        const __m512i whole = _mm512_cvttps_epi32(_mm512_fmadd_ps(_mm512_loadu_ps(values + k), factor, middle));
        _mm_storeu_si128((__m128i*)(bytes + k), _mm512_cvtepi32_epi8(whole));
    }
    *scale = largest / 127.0f;
}

void round_to_bf16(const float* values, long count, uint16_t* rounded) {
    for (long k = 0; k < count; k += LANES)
        _mm256_storeu_si256((__m256i*)(rounded + k), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(values + k)));
}

// Scores of one query by R heads over one input's states: sums over D of query[r][d] * states[l][d].
template <int R>
void score_states(const uint16_t* query, long depth, const uint16_t* states, long length, float* scores, long stride) {
    for (long l = 0; l < length; ++l) {
        __m512 sums[R];
        for (int r = 0; r < R; ++r) sums[r] = _mm512_setzero_ps();
        for (long d = 0; d < depth; d += 2 * LANES) {
            const __m512bh state = as_bf16(_mm512_loadu_si512(states + l * depth + d));
            for (int r = 0; r < R; ++r)
                sums[r] = _mm512_dpbf16_ps(sums[r], as_bf16(_mm512_loadu_si512(query + r * depth + d)), state);
        }
        for (int r = 0; r < R; ++r) scores[r * stride + l] = _mm512_reduce_add_ps(sums[r]);
    }
}

// Weights (rows of packed pairs of tokens) times states, divided by each row's sum; [R, D] bf16.
template <int R>
void pool_states(const uint16_t* weights, long stride, const float* inverse, const uint16_t* states, long length,
                 long depth, uint16_t* pooled) {
    for (long d = 0; d < depth; d += LANES) {
        __m512 sums[R];
        for (int r = 0; r < R; ++r) sums[r] = _mm512_setzero_ps();
        for (long l = 0; l < length; l += 2) {
            const uint16_t* even = states + l * depth + d;
            const __m512bh both = as_bf16(interleave(even, l + 1 < length ? even + depth : nullptr));
            for (int r = 0; r < R; ++r)
                sums[r] = _mm512_dpbf16_ps(sums[r], broadcast((const uint32_t*)(weights + r * stride) + l / 2), both);
        }
        for (int r = 0; r < R; ++r) {
            const __m512 mean = _mm512_mul_ps(sums[r], _mm512_set1_ps(inverse[r]));
            _mm256_storeu_si256((__m256i*)(pooled + r * depth + d), (__m256i)_mm512_cvtneps_pbh(mean));
        }
    }
}

template <int R>
void pool_heads(const uint16_t* query, const uint16_t* states, long length, long depth, const float* ones, float* scores,
                uint16_t* weights, uint16_t* pooled) {
    const long padded = (length + LANES - 1) / LANES * LANES;
    score_states<R>(query, depth, states, length, scores, padded);
    float inverse[R];
    for (int r = 0; r < R; ++r)
        inverse[r] = soften(ones, length, padded, scores + r * padded, weights + r * padded);
    pool_states<R>(weights, padded, inverse, states, length, depth, pooled);
}

}  // namespace

extern "C" int lanes() { return LANES; }

// Attention of inputs that lie end to end.
//   qkv       bf16 [T, 3, H, K]; K a multiple of 32
//   scale     float [T], what each token's numbers are multiplied by, or null for 1
//   bias      float [H, bias_stride >= 2 * longest - 1 + 16]: that of key j for query i at longest - 1 + j - i
//   lengths   of each input, none above `longest`
//   bytes, out_scale   uint8 [T, H * K] and float [T]; or null, and then
//   context            bf16 [T, H * K]
// Returns 0, or 1 when memory is out.
extern "C" int attend(const uint16_t* qkv, const float* scale, const float* bias, int64_t bias_stride, int64_t longest,
                      const int64_t* lengths, int64_t count, int64_t heads, int64_t width, uint8_t* bytes,
                      float* out_scale, uint16_t* context) {
    const long inner = heads * width, stride = 3 * inner;
    const long room = (longest + LANES - 1) / LANES * LANES;
    const size_t packed = (size_t)room * width / 2, strip = (size_t)ROWS * room;
    auto* key = (uint32_t*)std::aligned_alloc(64, (2 * packed + 2 * strip + (size_t)room * inner + room) * 4);
    if (!key) return 1;
    uint32_t* value = key + packed;
    auto* scores = (float*)(value + packed);
    auto* weights = (uint16_t*)(scores + strip);
    auto* pooled = scores + 2 * strip;
    auto* own_scale = pooled + (size_t)room * inner;
    for (long j = 0; j < room; ++j) own_scale[j] = scale ? 0.0f : 1.0f;
    long first = 0;
    for (int64_t input = 0; input < count; ++input) {
        const long length = lengths[input], padded = (length + LANES - 1) / LANES * LANES;
        const uint16_t* tokens = qkv + first * stride;
        if (scale) std::memcpy(own_scale, scale + first, length * sizeof(float));
        for (long h = 0; h < heads; ++h) {
            pack(tokens + inner + h * width, tokens + 2 * inner + h * width, stride, length, padded, width, key, value);
            const Head head{(const uint32_t*)(tokens + h * width), stride / 2, own_scale,
                            bias + h * bias_stride + longest - 1,  key,        value,
                            length,                                padded,     width};
            attend_head(head, scores, weights, pooled + h * width, inner);
        }
        for (long j = 0; j < length; ++j, ++first) {
            if (bytes)
                round_to_bytes(pooled + j * inner, inner, bytes + first * inner, out_scale + first);
            else
                round_to_bf16(pooled + j * inner, inner, context + first * inner);
        }
    }
    std::free(key);
    return 0;
}

// What each of `count` queries pools from the states of its own input.
//   query     bf16 [count, H, D]; D a multiple of 32
//   states    bf16 [T, D], the inputs end to end
//   lengths   of each input, none above `longest`
//   pooled    bf16 [count, H, D]
// Returns 0, or 1 when memory is out.
extern "C" int pool(const uint16_t* query, const uint16_t* states, int64_t longest, const int64_t* lengths,
                    int64_t count, int64_t heads, int64_t depth, uint16_t* pooled) {
    constexpr int AT_ONCE = 8;
    const long room = (longest + LANES - 1) / LANES * LANES;
    auto* scores = (float*)std::aligned_alloc(64, (size_t)room * (4 * AT_ONCE + 2 * AT_ONCE + 4));
    if (!scores) return 1;
    auto* weights = (uint16_t*)(scores + AT_ONCE * room);
    auto* ones = (float*)(weights + AT_ONCE * room);
    for (long j = 0; j < room; ++j) ones[j] = 1.0f;
    for (int64_t input = 0; input < count; ++input) {
        const long length = lengths[input];
        const uint16_t* from = query + input * heads * depth;
        uint16_t* to = pooled + input * heads * depth;
        long h = 0;
        for (; h + AT_ONCE <= heads; h += AT_ONCE)
            pool_heads<AT_ONCE>(from + h * depth, states, length, depth, ones, scores, weights, to + h * depth);
        for (; h + 4 <= heads; h += 4)
            pool_heads<4>(from + h * depth, states, length, depth, ones, scores, weights, to + h * depth);
        for (; h < heads; ++h)
            pool_heads<1>(from + h * depth, states, length, depth, ones, scores, weights, to + h * depth);
        states += length * depth;
    }
    std::free(scores);
    return 0;
}

#else
extern "C" int lanes() { return 0; }
extern "C" int pool(const uint16_t*, const uint16_t*, int64_t, const int64_t*, int64_t, int64_t, int64_t, uint16_t*) {
    return 1;
}
extern "C" int attend(const uint16_t*, const float*, const float*, int64_t, int64_t, const int64_t*, int64_t, int64_t,
                      int64_t, uint8_t*, float*, uint16_t*) {
    return 1;
}
#endif
