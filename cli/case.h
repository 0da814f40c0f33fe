/* Cases in the layout of ONNX's backend tests: CASE/model.onnx, CASE/test_data_set_N/{input,output}_N.pb. */
#ifndef BERT_CLI_CASE_H
#define BERT_CLI_CASE_H

#include "cli/compare_tensors.h"
#include "cli/options.h"
#include "cli/tensor_file.h"
#include "core/base/memory.h"

#include <bert/session.h>

/** A case; strings in the caller's arena. */
typedef struct bert_case {
    const char *name;   /**< Of its folder. */
    const char *folder; /**< Its path. */
    const char *model;  /**< CASE/model.onnx */
    const char *parent; /**< The folder of cases that it lies in. */
} bert_case;

/**
 * Finds the cases of `path`: itself, when it holds model.onnx, else the folders in it that do, by name. BERT_IO_ERROR
 * when there is none. `*out` lies in the arena.
 */
bert_status bert_cases_find(const char *path, bert_arena *arena, bert_case **out, size_t *count, bert_error *error);

/** The folder as a case; it need not hold a model. BERT_IO_ERROR when it is no folder. */
bert_status bert_case_open(const char *path, bert_arena *arena, bert_case *out, bert_error *error);

/** Paths of the folders CASE/test_data_set_*, in the order of their numbers. */
bert_status bert_case_data_sets(const bert_case *item, bert_arena *arena, const char ***out, size_t *count,
                                bert_error *error);

/** Tensors of one data set: `input_*.pb` or `output_*.pb`, in the order of their numbers. */
typedef struct bert_case_tensors {
    bert_owned_tensor *items;
    size_t count;
} bert_case_tensors;
/** Paths of these files, in that order. */
bert_status bert_case_files(const char *data_set, const char *prefix, bert_arena *arena, const char ***out,
                            size_t *count, bert_error *error);
bert_status bert_case_read(const char *data_set, const char *prefix, bert_case_tensors *out, bert_error *error);
void bert_case_tensors_free(bert_case_tensors *tensors);

/**
 * The tensors as inputs of the model, into `named` (room for all): each by its own name where the model has that, else
 * by its place. For a model in double, floats become doubles. BERT_INVALID_INPUT: one more than the model has.
 */
bert_status bert_case_name_inputs(const bert_model *model, bert_case_tensors *tensors, bert_named_tensor *named,
                                  bert_error *error);
/** The model's output for a tensor of output_<place>.pb, found likewise; NULL when there is none. */
const char *bert_case_output_name(const bert_model *model, const bert_owned_tensor *tensor, size_t place);

/** Options of commands that compare: --rtol and --atol, into *given. */
enum { BERT_TOLERANCE_OPTION_COUNT = 2 };
void bert_tolerance_option_rows(bert_tolerance *given, bert_option rows[BERT_TOLERANCE_OPTION_COUNT]);
/**
 * What counts for a case: what is given by options; else what the file tolerances.txt in the folder of cases says,
 * lines of name pattern, rtol, atol, of which the first that matches counts; else 1e-3 and 1e-4. BERT_INVALID_INPUT
 * names a line that is none.
 */
bert_status bert_case_tolerance(const bert_case *item, const bert_tolerance *given, bert_tolerance *out,
                                bert_error *error);

#endif
