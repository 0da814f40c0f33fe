/* tokenizer.json: normalizer, pre-tokenizer, post-processor, decoder, truncation and padding. */
#include "tokenizer/load.h"

#include "core/base/error.h"

#include <string.h>

bert_status bert_load_boolean(const char *file, const bert_json *object, const char *key, bool otherwise, bool *out,
                              bert_error *error) {
    const bert_json *value = bert_json_get(object, key);
    *out = otherwise;
    if (!value || value->type == BERT_JSON_NULL) return BERT_OK;
    if (value->type != BERT_JSON_TRUE && value->type != BERT_JSON_FALSE) {
        return bert_fail(error, BERT_INVALID_MODEL, "%s: %s is %s where true or false was expected", file, key,
                         bert_json_type_name(value));
    }
    *out = value->type == BERT_JSON_TRUE;
    return BERT_OK;
}

static bool is_absent(const bert_json *value) {
    return !value || value->type == BERT_JSON_NULL;
}

/* For "the normalizer is a Sequence; ..." */
static bert_status fail_type(const bert_load *load, const bert_json *part, const char *what, const char *supported,
                             bert_error *error) {
    const bert_json *type = bert_json_get(part, "type");
    if (is_absent(part)) {
        return bert_fail(error, BERT_UNSUPPORTED, "%s: there is no %s; %s is supported", load->tokenizer_json.name,
                         what, supported);
    }
    if (!type || type->type != BERT_JSON_STRING) {
        return bert_fail(error, BERT_INVALID_MODEL, "%s: the %s has no type", load->tokenizer_json.name, what);
    }
    return bert_fail(error, BERT_UNSUPPORTED, "%s: the %s is %.*s; %s is supported", load->tokenizer_json.name, what,
                     (int)(type->length < 100 ? type->length : 100), type->text, supported);
}

static bert_status load_normalizer(bert_load *load, const bert_json *root, bert_error *error) {
    bert_normalizer_settings *settings = &load->tokenizer->settings;
    const bert_json *part = bert_json_get(root, "normalizer");
    const char *file = load->tokenizer_json.name;
    *settings = (bert_normalizer_settings){false, false, false, false};
    if (is_absent(part)) return BERT_OK;
    if (!bert_json_is_string(bert_json_get(part, "type"), "BertNormalizer")) {
        return fail_type(load, part, "normalizer", "BertNormalizer", error);
    }
    BERT_TRY(bert_load_boolean(file, part, "clean_text", true, &settings->clean_text, error));
    BERT_TRY(bert_load_boolean(file, part, "handle_chinese_chars", true, &settings->handle_chinese_chars, error));
    BERT_TRY(bert_load_boolean(file, part, "lowercase", true, &settings->lowercase, error));
    return bert_load_boolean(file, part, "strip_accents", settings->lowercase, &settings->strip_accents, error);
}

static bert_status fail_template(const bert_load *load, const char *what, bert_error *error) {
    return bert_fail(error, BERT_INVALID_MODEL, "%s: post_processor: %s", load->tokenizer_json.name, what);
}

static bert_status new_template(bert_load *load, size_t most, bert_template *out, bert_error *error) {
    *out = (bert_template){.pieces = BERT_ARENA_NEW_ARRAY(&load->tokenizer->arena, bert_template_piece, most)};
    return out->pieces ? BERT_OK : bert_fail_memory(error, most * sizeof *out->pieces, "the post-processor's template");
}

static void put_piece(bert_template *template, int32_t special_id, int8_t sequence, int32_t type_id) {
    template->special_count += special_id >= 0;
    template->pieces[template->count++] =
        (bert_template_piece){.special_id = special_id, .sequence = sequence, .type_id = type_id};
}

bert_status bert_load_templates(bert_load *load, bert_template_kind kind, int32_t cls, int32_t sep, bert_error *error) {
    bert_template *single = &load->tokenizer->single, *pair = &load->tokenizer->pair;
    if (cls < 0 || sep < 0) {
        return bert_fail(error, BERT_INVALID_MODEL, "%s: there is no %s to put around a text",
                         load->tokenizer_json.data ? load->tokenizer_json.name : load->vocab_txt.name,
                         cls < 0 ? "cls_token" : "sep_token");
    }
    BERT_TRY(new_template(load, 3, single, error));
    BERT_TRY(new_template(load, 6, pair, error));
    const bool no_types = kind == BERT_TEMPLATE_ROBERTA;
    for (int i = 0; i < 2; i++) {
        bert_template *template = i ? pair : single;
        put_piece(template, cls, 0, 0);
        put_piece(template, -1, 0, 0);
        put_piece(template, sep, 0, 0);
        template->types_all = no_types;
    }
    if (kind != BERT_TEMPLATE_BERT) put_piece(pair, sep, 0, 0);
    put_piece(pair, -1, 1, !no_types);
    put_piece(pair, sep, 0, !no_types);
    return BERT_OK;
}

static bool take_id(const bert_json *value, int32_t *out) {
    int64_t id;
    if (!bert_json_integer(value, &id) || id < 0 || id >= INT32_MAX) return false;
    *out = (int32_t)id;
    return true;
}

/* The ids that a special token of the template stands for: special_tokens[name].ids. */
static const bert_json *special_ids(const bert_json *special_tokens, const bert_json *name) {
    if (!special_tokens || !name || name->type != BERT_JSON_STRING) return NULL;
    const bert_json *found = NULL;
    for (const bert_json *member = special_tokens->first; member; member = member->next) {
        if (member->key_length == name->length && memcmp(member->key, name->text, name->length) == 0) found = member;
    }
    const bert_json *ids = bert_json_get(found, "ids");
    return ids && ids->type == BERT_JSON_ARRAY ? ids : NULL;
}

static bert_status put_json_piece(bert_load *load, const bert_json *piece, const bert_json *special_tokens,
                                  bool is_pair, bert_template *out, bert_error *error) {
    const bert_json *sequence = bert_json_get(piece, "Sequence"), *special = bert_json_get(piece, "SpecialToken");
    const bert_json *body = sequence ? sequence : special, *name = bert_json_get(body, "id");
    int32_t type_id, id;
    if (!body || !take_id(bert_json_get(body, "type_id"), &type_id)) {
        return fail_template(load, "a piece is neither Sequence nor SpecialToken with id and type_id", error);
    }
    if (sequence) {
        bool first = bert_json_is_string(name, "A");
        if (!first && !bert_json_is_string(name, "B"))
            return fail_template(load, "a Sequence is neither A nor B", error);
        if (!first && !is_pair) return fail_template(load, "the template for one text asks for a second", error);
        put_piece(out, -1, !first, type_id);
        return BERT_OK;
    }
    const bert_json *ids = special_ids(special_tokens, name);
    if (!ids) return fail_template(load, "a SpecialToken is not among special_tokens", error);
    for (const bert_json *value = ids->first; value; value = value->next) {
        if (!take_id(value, &id)) return fail_template(load, "the id of a special token is not an integer", error);
        put_piece(out, id, 0, type_id);
    }
    return BERT_OK;
}

static bert_status load_template(bert_load *load, const bert_json *part, const char *key, bert_template *out,
                                 bert_error *error) {
    const bert_json *pieces = bert_json_get(part, key), *special_tokens = bert_json_get(part, "special_tokens");
    if (!pieces || pieces->type != BERT_JSON_ARRAY) return fail_template(load, "single and pair must be lists", error);
    size_t most = 0;
    for (const bert_json *piece = pieces->first; piece; piece = piece->next) {
        const bert_json *ids = special_ids(special_tokens, bert_json_get(bert_json_get(piece, "SpecialToken"), "id"));
        if (!bert_size_add(most, ids ? ids->length : 1, &most)) most = SIZE_MAX;
    }
    BERT_TRY(new_template(load, most, out, error));
    for (const bert_json *piece = pieces->first; piece; piece = piece->next) {
        BERT_TRY(put_json_piece(load, piece, special_tokens, out == &load->tokenizer->pair, out, error));
    }
    return BERT_OK;
}

/* BertProcessing and RobertaProcessing write cls and sep as [token, id]. */
static bool take_token_id(const bert_json *part, const char *key, int32_t *id) {
    const bert_json *both = bert_json_get(part, key);
    return both && both->type == BERT_JSON_ARRAY && both->length == 2 && take_id(both->first->next, id);
}

static bert_status load_post_processor(bert_load *load, const bert_json *root, bert_error *error) {
    bert_template *single = &load->tokenizer->single, *pair = &load->tokenizer->pair;
    const bert_json *part = bert_json_get(root, "post_processor"), *type = bert_json_get(part, "type");
    if (is_absent(part)) {
        BERT_TRY(new_template(load, 1, single, error));
        BERT_TRY(new_template(load, 2, pair, error));
        put_piece(single, -1, 0, 0);
        put_piece(pair, -1, 0, 0);
        put_piece(pair, -1, 1, 1);
        return BERT_OK;
    }
    const bool roberta = bert_json_is_string(type, "RobertaProcessing");
    if (roberta || bert_json_is_string(type, "BertProcessing")) {
        /* RoBERTa's trim_offsets is of tokens that hold blanks: WordPiece has none. */
        int32_t cls, sep;
        if (!take_token_id(part, "cls", &cls) || !take_token_id(part, "sep", &sep)) {
            return fail_template(load, "cls and sep must be [token, id]", error);
        }
        return bert_load_templates(load, roberta ? BERT_TEMPLATE_ROBERTA : BERT_TEMPLATE_BERT, cls, sep, error);
    }
    if (!bert_json_is_string(type, "TemplateProcessing")) {
        return fail_type(load, part, "post-processor", "TemplateProcessing, BertProcessing or RobertaProcessing",
                         error);
    }
    BERT_TRY(load_template(load, part, "single", single, error));
    return load_template(load, part, "pair", pair, error);
}

static bert_status load_decoder(bert_load *load, const bert_json *root, bert_error *error) {
    bert_tokenizer *tokenizer = load->tokenizer;
    const bert_json *part = bert_json_get(root, "decoder"), *prefix = bert_json_get(part, "prefix");
    tokenizer->has_decoder = !is_absent(part);
    if (!tokenizer->has_decoder) return BERT_OK;
    if (!bert_json_is_string(bert_json_get(part, "type"), "WordPiece")) {
        return fail_type(load, part, "decoder", "WordPiece", error);
    }
    BERT_TRY(bert_load_boolean(load->tokenizer_json.name, part, "cleanup", true, &tokenizer->decoder_cleanup, error));
    if (!prefix || prefix->type != BERT_JSON_STRING) {
        return bert_fail(error, BERT_INVALID_MODEL, "%s: decoder.prefix is %s where a string was expected",
                         load->tokenizer_json.name, bert_json_type_name(prefix));
    }
    tokenizer->decoder_prefix_length = prefix->length;
    tokenizer->decoder_prefix = bert_arena_string(&tokenizer->arena, prefix->text, prefix->length);
    if (!tokenizer->decoder_prefix) return bert_fail_memory(error, prefix->length + 1, "the decoder's prefix");
    return BERT_OK;
}

/* Only sides and the ids of padding count: what is cut or padded, and to which length, each call says. */
static bert_status load_sides(bert_load *load, const bert_json *root, bert_error *error) {
    bert_tokenizer *tokenizer = load->tokenizer;
    const bert_json *truncation = bert_json_get(root, "truncation"), *padding = bert_json_get(root, "padding");
    tokenizer->truncate_left = bert_json_is_string(bert_json_get(truncation, "direction"), "Left");
    tokenizer->pad_left = bert_json_is_string(bert_json_get(padding, "direction"), "Left");
    const bert_json *id = bert_json_get(padding, "pad_id"), *type = bert_json_get(padding, "pad_type_id");
    if ((id && !take_id(id, &tokenizer->pad_id)) || (type && !take_id(type, &tokenizer->pad_type_id))) {
        return bert_fail(error, BERT_INVALID_MODEL, "%s: padding.pad_id and pad_type_id must be integers from 0 on",
                         load->tokenizer_json.name);
    }
    return BERT_OK;
}

/* The file as JSON. Where the vocabulary could be lifted out, an empty object stands in its place. */
static bert_status parse_file(bert_load *load, const bert_json **root, bert_error *error) {
    const bert_source *source = &load->tokenizer_json;
    const char *begin, *end;
    BERT_TRY(bert_lift_vocabulary(load, &begin, &end, error));
    if (begin) {
        size_t before = (size_t)(begin - source->data), behind = source->size - (size_t)(end - source->data);
        char *rest = bert_arena_allocate(load->scratch, before + 2 + behind, 1);
        if (!rest) return bert_fail_memory(error, before + 2 + behind, source->name);
        memcpy(rest, source->data, before);
        memcpy(rest + before, "{}", 2);
        memcpy(rest + before + 2, end, behind);
        load->lifted = true;
        bert_status status = bert_json_parse(rest, before + 2 + behind, source->name, load->scratch, root, error);
        if (status == BERT_OK || status == BERT_OUT_OF_MEMORY) return status;
        /* Something else is wrong with the file: the error is to name the place where it is in all of it. */
        load->lifted = false;
        bert_drop_vocabulary(load);
    }
    return bert_json_parse(source->data, source->size, source->name, load->scratch, root, error);
}

bert_status bert_load_tokenizer_json(bert_load *load, bert_error *error) {
    const bert_source *source = &load->tokenizer_json;
    const bert_json *root, *model, *pre_tokenizer;
    BERT_TRY(parse_file(load, &root, error));
    model = bert_json_get(root, "model");
    if (!model || model->type != BERT_JSON_OBJECT) {
        return bert_fail(error, BERT_INVALID_MODEL, "%s: there is no model", source->name);
    }
    BERT_TRY(bert_load_vocabulary_json(load, model, error));
    BERT_TRY(load_normalizer(load, root, error));
    pre_tokenizer = bert_json_get(root, "pre_tokenizer");
    if (!bert_json_is_string(bert_json_get(pre_tokenizer, "type"), "BertPreTokenizer")) {
        return fail_type(load, pre_tokenizer, "pre-tokenizer", "BertPreTokenizer", error);
    }
    BERT_TRY(load_post_processor(load, root, error));
    BERT_TRY(load_decoder(load, root, error));
    BERT_TRY(load_sides(load, root, error));
    load->tokenizer_added = bert_json_get(root, "added_tokens");
    if (is_absent(load->tokenizer_added)) load->tokenizer_added = NULL;
    if (load->tokenizer_added && load->tokenizer_added->type != BERT_JSON_ARRAY) {
        return bert_fail(error, BERT_INVALID_MODEL, "%s: added_tokens is %s where a list was expected", source->name,
                         bert_json_type_name(load->tokenizer_added));
    }
    return BERT_OK;
}
