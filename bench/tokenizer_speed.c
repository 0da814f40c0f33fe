/*
 * The C side of vs_tokenizers.py: tokenizer_speed FOLDER TEXTS. Loads the tokenizer of FOLDER and TEXTS, one text a
 * line, then obeys lines from standard input:
 *
 *   encode       encodes every text once; answers the CPU seconds that it took this thread and the number of tokens
 *   ids FILE     writes the ids of every text: int32 count, that many int32
 *   load N       loads the tokenizer N times; answers the CPU seconds of the quickest
 */
#include <bert/tokenizer.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct texts {
    char *bytes;
    size_t size, count;
} texts;

static double cpu_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void stop(const char *sentence) {
    fprintf(stderr, "tokenizer_speed: %s\n", sentence);
    exit(1);
}

static texts read_texts(const char *path) {
    texts out = {0};
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) stop("cannot open the texts");
    long size = ftell(file);
    rewind(file);
    out.bytes = malloc((size_t)size + 1);
    if (!out.bytes || fread(out.bytes, 1, (size_t)size, file) != (size_t)size) stop("cannot read the texts");
    fclose(file);
    out.size = (size_t)size;
    return out;
}

/* Calls for each text: encodes it, and writes its ids where there is a file. Returns the number of tokens. */
static size_t encode_all(const bert_tokenizer *tokenizer, bert_encoding *encoding, const texts *all, FILE *ids) {
    const char *at = all->bytes, *end = at + all->size;
    size_t tokens = 0;
    bert_error error;
    while (at < end) {
        const char *stop_at = memchr(at, '\n', (size_t)(end - at));
        if (!stop_at) stop_at = end;
        if (bert_tokenizer_encode(tokenizer, at, (size_t)(stop_at - at), NULL, 0, NULL, encoding, &error) != BERT_OK) {
            stop(error.message);
        }
        bert_encoding_view view = bert_encoding_get(encoding);
        tokens += view.length;
        if (ids) {
            int32_t count = (int32_t)view.length;
            fwrite(&count, sizeof count, 1, ids);
            fwrite(view.ids, sizeof *view.ids, view.length, ids);
        }
        at = stop_at + 1;
    }
    return tokens;
}

static double load_seconds(const char *folder, int times) {
    double best = 1e9;
    for (int i = 0; i < times; i++) {
        bert_tokenizer *tokenizer;
        bert_error error;
        double begin = cpu_seconds();
        if (bert_tokenizer_load(folder, NULL, &tokenizer, &error) != BERT_OK) stop(error.message);
        double seconds = cpu_seconds() - begin;
        if (seconds < best) best = seconds;
        bert_tokenizer_free(tokenizer);
    }
    return best;
}

int main(int argc, char **argv) {
    bert_tokenizer *tokenizer;
    bert_encoding *encoding;
    bert_error error;
    if (argc != 3) stop("usage: tokenizer_speed FOLDER TEXTS");
    if (bert_tokenizer_load(argv[1], NULL, &tokenizer, &error) != BERT_OK ||
        bert_encoding_create(tokenizer, &encoding, &error) != BERT_OK) {
        stop(error.message);
    }
    texts all = read_texts(argv[2]);
    char line[4096];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (strcmp(line, "encode") == 0) {
            double begin = cpu_seconds();
            size_t tokens = encode_all(tokenizer, encoding, &all, NULL);
            printf("%.9f %zu\n", cpu_seconds() - begin, tokens);
        } else if (strncmp(line, "ids ", 4) == 0) {
            FILE *file = fopen(line + 4, "wb");
            if (!file) stop("cannot write the ids");
            printf("%zu\n", encode_all(tokenizer, encoding, &all, file));
            if (fclose(file)) stop("cannot write the ids");
        } else if (strncmp(line, "load ", 5) == 0) {
            printf("%.9f\n", load_seconds(argv[1], atoi(line + 5)));
        } else {
            stop("an unknown request");
        }
        fflush(stdout);
    }
    free(all.bytes);
    bert_encoding_free(encoding);
    bert_tokenizer_free(tokenizer);
    return 0;
}
