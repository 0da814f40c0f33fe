#include <bert/version.h>

const char *bert_version(void) {
    return BERT_VERSION;
}
