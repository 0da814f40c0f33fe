#include "cpu/gemm/bounded.h"

#include <string.h>

/* A pair of steps of a column has two halves: the first two weights of both steps, and the last two. */
enum { GROUP_HALVES = 2 * BERT_QGEMM_EXCESS_COLUMNS, GROUP_BYTES = 2 * GROUP_HALVES };
enum { STEP_BYTES = BERT_QGEMM_COLUMNS * BERT_QGEMM_STEP };
_Static_assert(BERT_QGEMM_STEP == 4, "halves are two weights");

/* Steps of excess that hold `most`; 3: more than a pair. */
static int steps_for(uint8_t most) {
    return (most > 0) + (most > BERT_QGEMM_EXCESS_BOUND) + (most > 2 * BERT_QGEMM_EXCESS_BOUND);
}

bool bert_qgemm_count_excess(const uint8_t *most, int64_t steps, int32_t pairs[BERT_QGEMM_EXCESS_GROUPS]) {
    int64_t count[BERT_QGEMM_EXCESS_GROUPS] = {0}, all = 0;
    for (int64_t first = 0; first < steps; first += 2) {
        for (int group = 0; group < BERT_QGEMM_EXCESS_GROUPS; group++, most += 2) {
            const int from_first = steps_for(most[0]), from_second = steps_for(most[1]);
            if (from_first > 2 || from_second > 2) return false;
            count[group] += from_first + from_second;
            all += from_first + from_second;
        }
        /* A pair of excess costs about as much as one of steps, and takes memory as well: with one in three pairs of
         * steps no gain is left. */
        if (all > 2 * steps) return false;
    }
    for (int group = 0; group < BERT_QGEMM_EXCESS_GROUPS; group++) pairs[group] = (int32_t)((count[group] + 1) / 2);
    return true;
}

/* ---- Bounding ---------------------------------------------------------------------------------------------------- */

/* The excess of a group as it grows, steps half a pair each. */
typedef struct excess_list {
    bert_qgemm_excess *pairs;
    int64_t count;
} excess_list;

/* Place of the weights that are added next, all zeros. */
static int8_t *add_step(excess_list *list, int64_t step) {
    const int64_t at = list->count++;
    bert_qgemm_excess *pair = &list->pairs[at / 2];
    /* The last pair's second step may stay as it is here: zeros, of a step that there is. */
    if (at % 2 == 0) *pair = (bert_qgemm_excess){.steps = {(int32_t)step, (int32_t)step}};
    pair->steps[at % 2] = (int32_t)step;
    return pair->weights[at % 2];
}

/* Takes `over` from the weights of one sign of a step's half, as far as they have it; returns what is left to take. It
 * goes to the first step of excess, to the second only what the first may not hold. */
static int take_from(int8_t *panel, int16_t w[2], int sign, int over, int8_t *const excess[2], int half) {
    int room = BERT_QGEMM_EXCESS_BOUND;
    for (int j = 0; j < 2; j++) {
        const int has = w[j] * sign, take = has <= 0 ? 0 : has < over ? has : over, now = take < room ? take : room;
        if (take == 0) continue;
        w[j] = (int16_t)(w[j] - sign * take);
        panel[2 * half + j] = (int8_t)w[j];
        excess[0][2 * half + j] = (int8_t)(sign * now);
        if (excess[1] && take > now) excess[1][2 * half + j] = (int8_t)(sign * (take - now));
        room -= now;
        over -= take;
    }
    return over;
}

/* A group of a pair of steps: its place in the panel, the second step's NULL beyond the last, and where it is beyond
 * the bound its weights. */
typedef struct group_pair {
    int8_t *panel[2];
    int16_t w[2][GROUP_BYTES];
} group_pair;

/* The weights less their zero points; plain enough for compilers to make vectors of. */
static void read_weights(group_pair *pair, const int8_t *zeros) {
    memset(pair->w[1], 0, sizeof pair->w[1]);
    for (int step = 0; step < 2 && pair->panel[step]; step++)
        for (int i = 0; i < GROUP_BYTES; i++) pair->w[step][i] = (int16_t)(pair->panel[step][i] - zeros[i]);
}

/* The same in the panel; where they are more than a byte, that is beyond the bound and written once more. */
static void take_zeros_off(const group_pair *pair, const int8_t *zeros) {
    for (int step = 0; step < 2 && pair->panel[step]; step++) {
        int8_t weights[GROUP_BYTES]; /* no compiler knows that the panel isn't zeros */
        for (int i = 0; i < GROUP_BYTES; i++) weights[i] = (int8_t)(pair->panel[step][i] - zeros[i]);
        memcpy(pair->panel[step], weights, sizeof weights);
    }
}

/* By how much the positive and the negative weights of each half are beyond the bound. */
static void measure(const group_pair *pair, int16_t over[2][GROUP_HALVES]) {
    int16_t positive[GROUP_BYTES], negative[GROUP_BYTES];
    for (int i = 0; i < GROUP_BYTES; i++) {
        const int16_t v = pair->w[0][i], w = pair->w[1][i];
        positive[i] = (int16_t)((v > 0 ? v : 0) + (w > 0 ? w : 0));
        negative[i] = (int16_t)(positive[i] - v - w);
    }
    for (int half = 0; half < GROUP_HALVES; half++) {
        over[0][half] = (int16_t)(positive[2 * half] + positive[2 * half + 1] - BERT_QGEMM_BOUND);
        over[1][half] = (int16_t)(negative[2 * half] + negative[2 * half + 1] - BERT_QGEMM_BOUND);
    }
}

/* What is beyond the bound is taken from the first step as far as that has weights of this sign, what is then left from
 * the second. */
static void bound_group(group_pair *pair, const uint8_t most[2], int64_t first, excess_list *list) {
    int8_t *excess[2][2] = {{NULL}};
    for (int step = 0; step < 2; step++)
        for (int i = 0; i < steps_for(most[step]); i++) excess[step][i] = add_step(list, first + step);
    int16_t over[2][GROUP_HALVES];
    measure(pair, over);
    for (int half = 0; half < GROUP_HALVES; half++) {
        for (int sign = 0; sign < 2; sign++) {
            int left = over[sign][half];
            for (int step = 0; step < 2 && left > 0; step++) {
                if (!excess[step][0]) continue; /* it has no weights of this sign, or nothing is to be taken from it */
                left = take_from(pair->panel[step], pair->w[step] + 2 * half, 1 - 2 * sign, left, excess[step], half);
            }
        }
    }
}

void bert_qgemm_bound(int8_t *panel, int64_t steps, const int8_t zeros[BERT_QGEMM_COLUMNS * BERT_QGEMM_STEP],
                      const uint8_t *most, const bert_qgemm_bounds *bounds, bert_qgemm_excess *excess) {
    static const int8_t none[STEP_BYTES];
    const bool any_zero = memcmp(zeros, none, sizeof none) != 0;
    excess_list lists[BERT_QGEMM_EXCESS_GROUPS] = {{0}};
    for (int group = 0; excess && group < BERT_QGEMM_EXCESS_GROUPS; group++)
        lists[group].pairs = excess + bounds->first[group];
    for (int64_t first = 0; first < steps; first += 2) {
        for (int group = 0; group < BERT_QGEMM_EXCESS_GROUPS; group++, most += 2) {
            const bool beyond = excess && (most[0] > 0 || most[1] > 0);
            if (!beyond && !any_zero) continue;
            int8_t *place = panel + first * STEP_BYTES + (int64_t)group * GROUP_BYTES;
            group_pair pair = {.panel = {place, first + 1 < steps ? place + STEP_BYTES : NULL}};
            if (beyond) read_weights(&pair, zeros + (int64_t)group * GROUP_BYTES);
            if (any_zero) take_zeros_off(&pair, zeros + (int64_t)group * GROUP_BYTES);
            if (beyond) bound_group(&pair, most, first, &lists[group]);
        }
    }
}
