/* The functions of cuda/tensor_core.h, which has what they promise, on the emulator. */
#ifndef BERT_EMULATED_TENSOR_CORE_H
#define BERT_EMULATED_TENSOR_CORE_H

static inline void bert_emulated_mma(const char *what, void *d, const uint32_t *a, const uint32_t *b,
                                     bert_emulator_resolve resolve, const char *file, int line) {
    bert_emulator_fragments in;
    uint32_t out[4];
    memcpy(in.a, a, sizeof in.a);
    memcpy(in.b, b, sizeof in.b);
    memcpy(in.c, d, sizeof in.c);
    bert_emulator_exchange_lanes(what, 0xffffffffU, &in, out, resolve, file, line);
    memcpy(d, out, sizeof out);
}

template <typename T>
static inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], BERT_PLACE) {
    constexpr bool half = std::is_same<T, __half>::value;
    static_assert(half || std::is_same<T, __nv_bfloat16>::value, "elements of 16 bits");
    bert_emulated_mma("mma_m16n8k16", d, a, b, half ? bert_emulator_mma_f16 : bert_emulator_mma_bf16, file, line);
}
static inline void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], BERT_PLACE) {
    bert_emulated_mma("mma_m16n8k8_tf32", d, a, b, bert_emulator_mma_tf32, file, line);
}
static inline void mma_m16n8k32_s8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], BERT_PLACE) {
    bert_emulated_mma("mma_m16n8k32_s8", d, a, b, bert_emulator_mma_s8, file, line);
}

static inline void ldmatrix_x4(uint32_t (&d)[4], const void *row, BERT_PLACE) {
    bert_emulator_row in = {row, 4};
    bert_emulator_exchange_lanes("ldmatrix_x4", 0xffffffffU, &in, d, bert_emulator_ldmatrix, file, line);
}
static inline void ldmatrix_x4_trans(uint32_t (&d)[4], const void *row, BERT_PLACE) {
    bert_emulator_row in = {row, 4};
    bert_emulator_exchange_lanes("ldmatrix_x4_trans", 0xffffffffU, &in, d, bert_emulator_ldmatrix_trans, file, line);
}

template <typename T> static inline uint32_t pack_pair(float low, float high) {
    const T pair[2] = {from_float<T>(low), from_float<T>(high)};
    uint32_t packed;
    memcpy(&packed, pair, sizeof packed);
    return packed;
}

static inline void copy_async_16(void *shared, const void *global, int valid) {
    bert_emulator_copy_async(shared, global, 16, static_cast<size_t>(valid));
}
static inline void copy_async_commit() {
    bert_emulator_copy_commit();
}
template <int N> static inline void copy_async_wait() {
    bert_emulator_copy_wait(N);
}

#endif
