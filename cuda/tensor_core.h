/*
 * Tensor cores and copies in the background: wrappers of one PTX instruction each (sm_80 and later). The emulator has
 * the same functions, with the same exchange of registers between lanes, in <bert_emulated_tensor_core.h>. T is __half
 * or
 * __nv_bfloat16.
 *
 * Fragments are those of the PTX ISA. Lane l is in group g = l / 4, at place t = l % 4 of it.
 *
 *   m16n8k16 (A 16 x 16, B 16 x 8, C and D 16 x 8); a register of A or B holds two elements, the lower index low:
 *     a[r]: row g + 8 (r & 1), columns 2 t + 8 (r >> 1) and the next
 *     b[r]: column g, rows 2 t + 8 r and the next
 *     c[r]: row g + 8 (r >> 1), column 2 t + (r & 1)
 *   m16n8k8 tf32:  a[r]: row g + 8 (r & 1), column t + 4 (r >> 1)      b[r]: row t + 4 r, column g
 *   m16n8k32 s8:   a[r]: row g + 8 (r & 1), columns 4 t + 16 (r >> 1) and three more
 *                  b[r]: column g, rows 4 t + 16 r and three more
 *
 * So the D of one product, rounded and packed in pairs, is the A of the next with k = n: no shuffle between.
 */
#ifndef BERT_CUDA_TENSOR_CORE_H
#define BERT_CUDA_TENSOR_CORE_H

#include "cuda/platform.h"

#ifdef BERT_CUDA_EMULATED
#include <bert_emulated_tensor_core.h>
#else

/** d += A B, m16n8k16, sums in float. */
template <typename T>
__device__ inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
template <> __device__ inline void mma_m16n8k16<__half>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <>
__device__ inline void mma_m16n8k16<__nv_bfloat16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/** d += A B, m16n8k8, elements are floats whose low 13 bits are not looked at. */
static __device__ inline void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/** d += A B, m16n8k32, signed bytes, sums in int32 that wrap around. */
static __device__ inline void mma_m16n8k32_s8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

static __device__ inline uint32_t bert_shared_address(const void *shared) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

/**
 * Four matrices of 8 x 8 elements of 16 bits: matrix m has its rows at the addresses that lanes 8 m to 8 m + 7 give, 16
 * bytes each, aligned. Register m of a lane gets elements 2 t and 2 t + 1 of row g, as a[] and b[] of mma want them;
 * with `trans` of column g.
 */
static __device__ inline void ldmatrix_x4(uint32_t (&d)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(bert_shared_address(row))
                 : "memory");
}
static __device__ inline void ldmatrix_x4_trans(uint32_t (&d)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(bert_shared_address(row))
                 : "memory");
}

/** Two floats rounded to T, `low` in the low half. */
template <typename T> __device__ inline uint32_t pack_pair(float low, float high);
template <> __device__ inline uint32_t pack_pair<__half>(float low, float high) {
    uint32_t packed;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}
template <> __device__ inline uint32_t pack_pair<__nv_bfloat16>(float low, float high) {
    uint32_t packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

/**
 * Begins a copy of 16 bytes from device to shared memory, both aligned; of which the first `valid` (0 to 16) are read,
 * the others zero. Copies since the last commit are one group; wait<N> returns when all but the newest N groups of this
 * thread are there. Other threads see them after a barrier that follows.
 */
static __device__ inline void copy_async_16(void *shared, const void *global, int valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(bert_shared_address(shared)), "l"(global),
                 "r"(valid)
                 : "memory");
}
static __device__ inline void copy_async_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int N> __device__ inline void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

#endif
#endif
