#include "cli/compare.h"
#include "cli/json_out.h"
#include "cli/output.h"
#include "core/base/error.h"

#include <inttypes.h>

/* "logits[0,1] of test_data_set_2" */
static void print_place(const bert_compared *row) {
    char index[BERT_SHAPE_TEXT_BYTES];
    bert_output_print("%s%s of %s", row->name, bert_shape_text(row->worst.index, row->got.rank, index), row->data_set);
}

static void print_row(const bert_compared *row) {
    if (!row->present) {
        bert_output_print("  missing                         %s\n", row->name);
        return;
    }
    const char *verdict = bert_compared_diverges(row) ? "DIVERGES" : "agrees";
    if (!row->worst.same_form) {
        bert_output_print("  %-8s  another type or shape  %s", verdict, row->name);
    } else {
        bert_output_print("  %-8s  %8.2g  %8.1f%%    %s", verdict, row->worst.error, 100 * row->worst.ratio, row->name);
    }
    if (row->node) bert_output_print("  (%s %s%s)", row->op, row->node, row->kept ? "" : ", recomputed");
    bert_output_print("\n");
}

static void print_difference(const bert_compared *row, bert_tolerance tolerance) {
    const bert_comparison *worst = &row->worst;
    if (!worst->same_form) {
        char shapes[2][BERT_SHAPE_TEXT_BYTES];
        bert_output_print("  it is %s%s, but %s%s was expected\n", bert_dtype_name(row->got.dtype),
                          bert_shape_text(row->got.dims, row->got.rank, shapes[0]),
                          bert_dtype_name(row->expected.dtype),
                          bert_shape_text(row->expected.dims, row->expected.rank, shapes[1]));
        return;
    }
    bert_output_print("  %" PRId64 " of %" PRId64 " elements are too far off, worst %.9g instead of %.9g (error %.2g, "
                      "rtol %g, atol %g) at ",
                      worst->beyond, worst->elements, worst->got, worst->expected, worst->error, tolerance.rtol,
                      tolerance.atol);
    print_place(row);
    bert_output_print("\n");
}

static void print_suspects(const bert_comparing *comparing) {
    size_t count = comparing->suspect_count;
    if (count == 1) {
        bert_output_print("  what that node reads agrees\n");
        return;
    }
    if (count < 2) return;
    bert_output_print("  the case has nothing between it and what agrees; the nodes there%s:\n",
                      count > BERT_MAX_SUSPECTS ? ", the nearest first" : "");
    for (size_t i = 0; i < count && i < BERT_MAX_SUSPECTS; i++) {
        bert_output_print("    %s %s\n", comparing->suspects[i].op, comparing->suspects[i].name);
    }
    if (count > BERT_MAX_SUSPECTS) bert_output_print("    and %zu more\n", count - BERT_MAX_SUSPECTS);
}

static void print_here(const bert_comparing *comparing) {
    const bert_compared *first = comparing->first;
    if (!first->kept) {
        bert_output_print("  passes fused it away: it was recomputed without them\n");
        return;
    }
    if (first->here) {
        bert_output_print("  here %s %s writes it, for the nodes: %s\n", first->here_op, first->here, first->origins);
    }
    if (!comparing->plain_compared) return;
    bool agrees = comparing->plain.same_form && comparing->plain.beyond == 0;
    bert_output_print("  without passes it %s (error %.2g)%s\n", agrees ? "agrees" : "diverges as well",
                      comparing->plain.error, agrees ? ": a pass, or the kernel of what it made, is at fault" : "");
}

enum { SHOWN = 10 };

void bert_compare_print(const bert_comparing *comparing, bool all) {
    const bert_compared *first = comparing->first;
    if (all || first) bert_output_print("  verdict      error  of allowed  tensor\n");
    size_t shown = 0;
    for (size_t i = 0; i < comparing->count; i++) {
        bool diverges = bert_compared_diverges(&comparing->rows[i]);
        if (all || (diverges && shown++ < SHOWN)) print_row(&comparing->rows[i]);
    }
    if (shown > SHOWN) bert_output_print("  and %zu more that diverge; --all shows them\n", shown - SHOWN);
    size_t compared = comparing->count - comparing->missing;
    if (first) {
        bert_output_print("\nThe first to diverge is %s", first->name);
        if (first->node) bert_output_print(", which node %s (%s) writes", first->node, first->op);
        bert_output_print("\n");
        print_difference(first, comparing->tolerance);
        print_suspects(comparing);
        print_here(comparing);
        bert_output_print("\n");
    }
    bert_output_print("%zu tensors compared, %zu diverge, %zu are not in the model\n", compared, comparing->diverging,
                      comparing->missing);
}

/* ---- JSON ------------------------------------------------------------------------------------------------------- */

static void write_text(bert_json_out *json, const char *key, const char *text) {
    bert_json_out_key(json, key);
    bert_json_out_text(json, text);
}

static void write_comparison(bert_json_out *json, const bert_comparison *comparison, int32_t rank) {
    bert_json_out_key(json, "same_form");
    bert_json_out_boolean(json, comparison->same_form);
    if (!comparison->same_form) return;
    bert_json_out_key(json, "error");
    bert_json_out_measure(json, comparison->error, 6);
    bert_json_out_key(json, "of_allowed");
    bert_json_out_measure(json, comparison->ratio, 6);
    bert_json_out_key(json, "beyond");
    bert_json_out_integer(json, comparison->beyond);
    bert_json_out_key(json, "elements");
    bert_json_out_integer(json, comparison->elements);
    bert_json_out_key(json, "got");
    bert_json_out_number(json, comparison->got);
    bert_json_out_key(json, "expected");
    bert_json_out_number(json, comparison->expected);
    bert_json_out_key(json, "index");
    bert_json_out_begin(json, '[');
    for (int32_t d = 0; d < rank; d++) bert_json_out_integer(json, comparison->index[d]);
    bert_json_out_end(json, ']');
}

static void write_row(bert_json_out *json, const bert_compared *row) {
    bert_json_out_begin(json, '{');
    write_text(json, "name", row->name);
    write_text(json, "verdict", !row->present ? "missing" : bert_compared_diverges(row) ? "diverges" : "agrees");
    write_text(json, "node", row->node);
    write_text(json, "op", row->op);
    bert_json_out_key(json, "recomputed");
    bert_json_out_boolean(json, row->present && !row->kept);
    write_text(json, "here", row->here);
    write_text(json, "here_op", row->here_op);
    write_text(json, "data_set", row->data_set);
    if (row->compared) write_comparison(json, &row->worst, row->got.rank);
    bert_json_out_end(json, '}');
}

static void write_verdict(bert_json_out *json, const bert_comparing *comparing) {
    bert_json_out_key(json, "first");
    bert_json_out_text(json, comparing->first ? comparing->first->name : NULL);
    bert_json_out_key(json, "suspects");
    bert_json_out_begin(json, '[');
    for (size_t i = 0; i < comparing->suspect_count && i < BERT_MAX_SUSPECTS; i++) {
        bert_json_out_begin(json, '{');
        write_text(json, "node", comparing->suspects[i].name);
        write_text(json, "op", comparing->suspects[i].op);
        bert_json_out_end(json, '}');
    }
    bert_json_out_end(json, ']');
    if (!comparing->first || !comparing->plain_compared) return;
    bert_json_out_key(json, "without_passes");
    bert_json_out_begin(json, '{');
    write_comparison(json, &comparing->plain, comparing->first->got.rank);
    bert_json_out_end(json, '}');
}

bert_status bert_compare_json(const bert_comparing *comparing, bool all, bert_error *error) {
    bert_json_out json = {0};
    bert_json_out_begin(&json, '{');
    write_text(&json, "model", comparing->model);
    write_text(&json, "case", comparing->name);
    bert_json_out_key(&json, "rtol");
    bert_json_out_measure(&json, comparing->tolerance.rtol, 6);
    bert_json_out_key(&json, "atol");
    bert_json_out_measure(&json, comparing->tolerance.atol, 6);
    bert_json_out_key(&json, "compared");
    bert_json_out_integer(&json, (int64_t)(comparing->count - comparing->missing));
    bert_json_out_key(&json, "diverging");
    bert_json_out_integer(&json, (int64_t)comparing->diverging);
    bert_json_out_key(&json, "missing");
    bert_json_out_integer(&json, (int64_t)comparing->missing);
    bert_json_out_key(&json, "tensors");
    bert_json_out_begin(&json, '[');
    for (size_t i = 0; i < comparing->count; i++) {
        if (all || bert_compared_diverges(&comparing->rows[i])) write_row(&json, &comparing->rows[i]);
    }
    bert_json_out_end(&json, ']');
    write_verdict(&json, comparing);
    bert_json_out_end(&json, '}');
    bert_json_out_newline(&json);
    bert_output_write(json.text, json.length);
    bert_status status = json.failed ? bert_fail_memory(error, json.capacity, "the answer") : BERT_OK;
    bert_json_out_free(&json);
    return status;
}
