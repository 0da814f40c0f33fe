/* tokenizer_config.json, and the added and special tokens of all files, as BertTokenizerFast.from_pretrained takes
 * them. */
#include "tokenizer/load.h"

#include "core/base/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bert_status load_max_length(bert_load *load, bert_error *error) {
    const bert_json *value = bert_json_get(load->config_root, "model_max_length");
    if (!value) value = bert_json_get(load->config_root, "max_len");
    if (!value || value->type == BERT_JSON_NULL) return BERT_OK;
    double number;
    int64_t exact;
    if (bert_json_integer(value, &exact) && exact > 0) {
        load->tokenizer->model_max_length = exact;
        return BERT_OK;
    }
    if (!bert_json_number(value, &number) || !(number >= 1)) {
        return bert_fail(error, BERT_INVALID_MODEL, "%s: model_max_length is not a number from 1 on",
                         load->config.name);
    }
    /* 1e30, or an integer of 31 digits, is how Hugging Face writes 'no limit'. */
    if (number < 9.2e18) load->tokenizer->model_max_length = (int64_t)number;
    return BERT_OK;
}

static bert_status load_side(bert_load *load, const char *key, bool *left, bert_error *error) {
    const bert_json *value = bert_json_get(load->config_root, key);
    if (!value || value->type == BERT_JSON_NULL) return BERT_OK;
    *left = bert_json_is_string(value, "left");
    if (*left || bert_json_is_string(value, "right")) return BERT_OK;
    return bert_fail(error, BERT_INVALID_MODEL, "%s: %s is neither \"left\" nor \"right\"", load->config.name, key);
}

/* Classes that take tokenizer.json's normalizer as it is. */
static bool keeps_normalizer(const bert_json *config) {
    const bert_json *class = bert_json_get(config, "tokenizer_class");
    return bert_json_is_string(class, "PreTrainedTokenizerFast") || bert_json_is_string(class, "TokenizersBackend");
}

static bert_tokenizer_class class_of(const bert_json *config) {
    const bert_json *class = bert_json_get(config, "tokenizer_class");
    bool mpnet = bert_json_is_string(class, "MPNetTokenizer") || bert_json_is_string(class, "MPNetTokenizerFast");
    return mpnet ? BERT_CLASS_MPNET : BERT_CLASS_BERT;
}

bert_status bert_load_settings(bert_load *load, bert_error *error) {
    bert_tokenizer *tokenizer = load->tokenizer;
    bert_normalizer_settings *settings = &tokenizer->settings;
    const bert_json *config = load->config_root;
    const char *file = load->config.name;
    load->class = class_of(config);
    if (!load->tokenizer_json.data) {
        settings->clean_text = true;
        tokenizer->has_decoder = tokenizer->decoder_cleanup = true;
        tokenizer->decoder_prefix = "##";
        tokenizer->decoder_prefix_length = 2;
    }
    /* What the file does not say has BertTokenizerFast's default, not tokenizer.json's value. A tokenizer.json that
       stands alone is a tokenizer of its own. */
    if (!load->tokenizer_json.data || (config && !keeps_normalizer(config))) {
        BERT_TRY(bert_load_boolean(file, config, "do_lower_case", true, &settings->lowercase, error));
        /* Of this, MPNetTokenizerFast leaves what tokenizer.json says. */
        if (!load->tokenizer_json.data || load->class != BERT_CLASS_MPNET) {
            BERT_TRY(bert_load_boolean(file, config, "tokenize_chinese_chars", true, &settings->handle_chinese_chars,
                                       error));
        }
        BERT_TRY(
            bert_load_boolean(file, config, "strip_accents", settings->lowercase, &settings->strip_accents, error));
    }
    BERT_TRY(load_max_length(load, error));
    BERT_TRY(load_side(load, "padding_side", &tokenizer->pad_left, error));
    return load_side(load, "truncation_side", &tokenizer->truncate_left, error);
}

static const struct {
    const char *key;
    const char *otherwise[BERT_CLASS_COUNT]; /* The class's default, or NULL. */
} special_names[BERT_SPECIAL_COUNT] = {
    [BERT_SPECIAL_BOS] = {"bos_token", {NULL, "<s>"}},          [BERT_SPECIAL_EOS] = {"eos_token", {NULL, "</s>"}},
    [BERT_SPECIAL_UNK] = {"unk_token", {"[UNK]", "[UNK]"}},     [BERT_SPECIAL_SEP] = {"sep_token", {"[SEP]", "</s>"}},
    [BERT_SPECIAL_PAD] = {"pad_token", {"[PAD]", "<pad>"}},     [BERT_SPECIAL_CLS] = {"cls_token", {"[CLS]", "<s>"}},
    [BERT_SPECIAL_MASK] = {"mask_token", {"[MASK]", "<mask>"}},
};

/* An added token as an object: {"content": .., "single_word": .., ...}. `special` is the default of that flag. */
static bert_status read_token(const char *file, const bert_json *object, bool special, bert_added_token *out,
                              bert_error *error) {
    const bert_json *content = bert_json_get(object, "content");
    *out = (bert_added_token){.id = -1};
    if (!content || content->type != BERT_JSON_STRING) {
        return bert_fail(error, BERT_INVALID_MODEL, "%s: an added token has no content", file);
    }
    out->content = content->text;
    out->length = content->length;
    BERT_TRY(bert_load_boolean(file, object, "special", special, &out->special, error));
    BERT_TRY(bert_load_boolean(file, object, "single_word", false, &out->single_word, error));
    BERT_TRY(bert_load_boolean(file, object, "lstrip", false, &out->lstrip, error));
    BERT_TRY(bert_load_boolean(file, object, "rstrip", false, &out->rstrip, error));
    return bert_load_boolean(file, object, "normalized", !out->special, &out->normalized, error);
}

static bert_status add(bert_load *load, const bert_added_token *token, bert_error *error) {
    return bert_added_tokens_add(&load->tokenizer->added, &load->tokenizer->vocabulary, token, error);
}

static bert_status add_of_tokenizer_json(bert_load *load, bert_error *error) {
    if (!load->tokenizer_added) return BERT_OK;
    for (const bert_json *item = load->tokenizer_added->first; item; item = item->next) {
        bert_added_token token;
        BERT_TRY(read_token(load->tokenizer_json.name, item, false, &token, error));
        BERT_TRY(add(load, &token, error));
    }
    return BERT_OK;
}

/* An added token with the id that its file gives: only its order counts. */
typedef struct numbered_token {
    int64_t number;
    size_t position;
    bert_added_token token;
} numbered_token;

static int compare_numbers(const void *left, const void *right) {
    const numbered_token *a = left, *b = right;
    if (a->number != b->number) return a->number < b->number ? -1 : 1;
    return a->position < b->position ? -1 : a->position > b->position;
}

/* What a special token's entry says: a string, an object, or nothing (NULL). */
static const bert_json *special_value(const bert_load *load, const char *key, bool *from_map) {
    /* added_tokens_decoder says all there is to say about tokens, and special_tokens_map.json is not looked at then. */
    bool legacy = !bert_json_get(load->config_root, "added_tokens_decoder");
    const bert_json *value = legacy ? bert_json_get(load->special_root, key) : NULL;
    *from_map = value != NULL;
    return value ? value : bert_json_get(load->config_root, key);
}

/* The further special tokens of tokenizer_config.json, or of special_tokens_map.json: there the two add up. */
static const bert_json *more_special(const bert_load *load, bool map) {
    bool legacy = !bert_json_get(load->config_root, "added_tokens_decoder");
    return bert_json_get(map ? legacy ? load->special_root : NULL : load->config_root, "additional_special_tokens");
}

static bool spells(const bert_json *value, const char *bytes, size_t length) {
    const bert_json *string = value && value->type == BERT_JSON_OBJECT ? bert_json_get(value, "content") : value;
    return string && string->type == BERT_JSON_STRING && string->length == length &&
           memcmp(string->text, bytes, length) == 0;
}

/* Whether a file names these bytes as a special token. */
static bool is_named_special(const bert_load *load, const char *bytes, size_t length) {
    bool from_map;
    for (int i = 0; i < BERT_SPECIAL_COUNT; i++) {
        if (spells(special_value(load, special_names[i].key, &from_map), bytes, length)) return true;
    }
    for (int map = 0; map < 2; map++) {
        const bert_json *more = more_special(load, map);
        if (!more || more->type != BERT_JSON_ARRAY) continue;
        for (const bert_json *item = more->first; item; item = item->next) {
            if (spells(item, bytes, length)) return true;
        }
    }
    return false;
}

static bert_status read_numbered(bert_load *load, const bert_json *member, bool decoder, numbered_token *out,
                                 bert_error *error) {
    if (!decoder) {
        /* added_tokens.json: {"token": id} */
        bool special = is_named_special(load, member->key, member->key_length);
        out->token = (bert_added_token){.content = member->key, .length = member->key_length, .id = -1};
        out->token.special = special;
        out->token.normalized = !special;
        if (bert_json_integer(member, &out->number)) return BERT_OK;
        return bert_fail(error, BERT_INVALID_MODEL, "%s: the id of an added token is not an integer",
                         load->added_json.name);
    }
    /* added_tokens_decoder: {"id": {"content": ..}} */
    char *end = NULL;
    errno = 0;
    out->number = strtoll(member->key, &end, 10);
    if (member->key_length == 0 || end != member->key + member->key_length || errno) {
        return bert_fail(error, BERT_INVALID_MODEL, "%s: added_tokens_decoder: a key is not an integer",
                         load->config.name);
    }
    BERT_TRY(read_token(load->config.name, member, false, &out->token, error));
    if (is_named_special(load, out->token.content, out->token.length)) out->token.special = true;
    return BERT_OK;
}

static bool tokenizer_json_lists(const bert_load *load, int64_t id) {
    if (!load->tokenizer_added) return false;
    for (const bert_json *item = load->tokenizer_added->first; item; item = item->next) {
        int64_t listed;
        if (bert_json_integer(bert_json_get(item, "id"), &listed) && listed == id) return true;
    }
    return false;
}

/* added_tokens_decoder of tokenizer_config.json, or added_tokens.json: in the order of their ids. */
static bert_status add_numbered(bert_load *load, bert_error *error) {
    const bert_json *decoder = bert_json_get(load->config_root, "added_tokens_decoder");
    const bert_json *object = decoder ? decoder : load->added_root;
    if (!object || object->length == 0) return BERT_OK;
    if (object->type != BERT_JSON_OBJECT) {
        return bert_fail(error, BERT_INVALID_MODEL, "%s: added_tokens_decoder is %s where an object was expected",
                         load->config.name, bert_json_type_name(object));
    }
    numbered_token *tokens = BERT_ARENA_NEW_ARRAY(load->scratch, numbered_token, object->length);
    if (!tokens) return bert_fail_memory(error, object->length * sizeof *tokens, "the added tokens");
    size_t count = 0;
    for (const bert_json *member = object->first; member; member = member->next) {
        BERT_TRY(read_numbered(load, member, decoder != NULL, &tokens[count], error));
        tokens[count].position = count;
        count++;
    }
    qsort(tokens, count, sizeof *tokens, compare_numbers);
    for (size_t i = 0; i < count; i++) {
        /* Of added_tokens.json and tokenizer.json, the latter says what stands at an id. */
        if (!decoder && tokenizer_json_lists(load, tokens[i].number)) continue;
        BERT_TRY(add(load, &tokens[i].token, error));
    }
    return BERT_OK;
}

/* One special token: a string counts unless an added token is spelled so; an object changes the flags of that one,
   unless the files that list added tokens with all their flags have it. MPNetTokenizerFast makes objects of strings,
   and its mask takes the blanks before it. BERT_SPECIAL_COUNT is the name of one that has none. */
static bert_status add_special(bert_load *load, const bert_json *value, bert_special_name name, bool from_map,
                               bert_error *error) {
    const char *file = from_map ? load->special_map.name : load->config.name;
    const bool mpnet = load->class == BERT_CLASS_MPNET && name != BERT_SPECIAL_COUNT;
    bert_added_token token = {.id = -1, .special = true, .lstrip = mpnet && name == BERT_SPECIAL_MASK};
    if (value && value->type == BERT_JSON_OBJECT) {
        BERT_TRY(read_token(file, value, from_map, &token, error));
        token.special = true;
    } else if (value && value->type == BERT_JSON_STRING) {
        token.content = value->text;
        token.length = value->length;
    } else if (value) {
        return bert_fail(error, BERT_INVALID_MODEL,
                         "%s: a special token is %s where a string or an object was expected", file,
                         bert_json_type_name(value));
    } else {
        token.content = special_names[name].otherwise[load->class];
        token.length = strlen(token.content);
    }
    const bert_added_token *there = bert_added_tokens_find(&load->tokenizer->added, token.content, token.length);
    if (there) {
        bool object = mpnet || (value && value->type == BERT_JSON_OBJECT);
        bool listed = load->tokenizer_added || bert_json_get(load->config_root, "added_tokens_decoder");
        if (object && !listed) return add(load, &token, error);
        token = *there;
        token.special = true;
        return object || listed ? add(load, &token, error) : BERT_OK;
    }
    /* A tokenizer.json that stands alone gets no token that its vocabulary has not. */
    bool alone = load->tokenizer_json.data && !load->config_root && !load->special_root && !load->added_root;
    if (alone && bert_vocabulary_id(&load->tokenizer->vocabulary, token.content, token.length) < 0) return BERT_OK;
    return add(load, &token, error);
}

static int32_t id_of(const bert_tokenizer *tokenizer, const char *text, size_t length) {
    const bert_added_token *added = bert_added_tokens_find(&tokenizer->added, text, length);
    return added ? added->id : bert_vocabulary_id(&tokenizer->vocabulary, text, length);
}

static int32_t special_id(const bert_load *load, bert_special_name name) {
    bool from_map;
    const bert_json *value = special_value(load, special_names[name].key, &from_map);
    if (value && value->type == BERT_JSON_OBJECT) value = bert_json_get(value, "content");
    if (value && value->type == BERT_JSON_NULL) return -1;
    const char *otherwise = special_names[name].otherwise[load->class];
    return value ? id_of(load->tokenizer, value->text, value->length)
                 : id_of(load->tokenizer, otherwise, strlen(otherwise));
}

static bert_status add_more_special(bert_load *load, bool map, bert_error *error) {
    const bert_json *more = more_special(load, map);
    if (!more || more->type == BERT_JSON_NULL) return BERT_OK;
    if (more->type != BERT_JSON_ARRAY) {
        return bert_fail(error, BERT_INVALID_MODEL, "%s: additional_special_tokens is %s where a list was expected",
                         map ? load->special_map.name : load->config.name, bert_json_type_name(more));
    }
    for (const bert_json *item = more->first; item; item = item->next) {
        BERT_TRY(add_special(load, item, BERT_SPECIAL_COUNT, map, error));
    }
    return BERT_OK;
}

static bert_status add_all_special(bert_load *load, bert_error *error) {
    bool from_map;
    for (int i = 0; i < BERT_SPECIAL_COUNT; i++) {
        const bert_json *value = special_value(load, special_names[i].key, &from_map);
        if (value && value->type == BERT_JSON_NULL) continue;
        if (!value && !special_names[i].otherwise[load->class]) continue;
        BERT_TRY(add_special(load, value, (bert_special_name)i, from_map, error));
    }
    BERT_TRY(add_more_special(load, false, error));
    return add_more_special(load, true, error);
}

bert_status bert_load_added_tokens(bert_load *load, bert_error *error) {
    bert_tokenizer *tokenizer = load->tokenizer;
    BERT_TRY(add_of_tokenizer_json(load, error));
    BERT_TRY(add_numbered(load, error));
    BERT_TRY(add_all_special(load, error));
    tokenizer->special = (bert_special_ids){
        .pad = special_id(load, BERT_SPECIAL_PAD),
        .cls = special_id(load, BERT_SPECIAL_CLS),
        .sep = special_id(load, BERT_SPECIAL_SEP),
        .mask = special_id(load, BERT_SPECIAL_MASK),
        .unk = tokenizer->unk_id,
    };
    if (tokenizer->special.pad >= 0) tokenizer->pad_id = tokenizer->special.pad;
    return BERT_OK;
}
