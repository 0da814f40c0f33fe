#include "core/runtime/plugin.h"

#include "core/base/error.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_PATH = 4096 };

/* From the folder of a program or library to where libraries are: the same, that of a build, that of an installation.
 */
static const char *const nearby[] = {".", "..", ("../" BERT_INSTALL_LIBDIR)};

/* The folder of the file that this code was loaded from; false where the system doesn't say. */
static bool find_own_folder(char out[MOST_PATH]) {
    static const char here;
    Dl_info info;
    char path[MOST_PATH];
    if (!dladdr(&here, &info) || !info.dli_fname) return false;
    const char *file = info.dli_fname;
    if (file[0] != '/') { /* the program, as it was called */
        const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
        if (length <= 0) return false;
        path[length] = '\0';
        file = path;
    }
    const char *slash = strrchr(file, '/');
    if (!slash || (size_t)(slash - file) >= MOST_PATH) return false;
    memcpy(out, file, (size_t)(slash - file));
    out[slash - file] = '\0';
    return true;
}

static bool file_in(const char *folder, const char *below, const char *name, char out[MOST_PATH]) {
    const int length = snprintf(out, MOST_PATH, "%s/%s/libbertc_%s.so", folder, below, name);
    return length > 0 && length < MOST_PATH && access(out, R_OK) == 0;
}

/* What dlopen is to be given: a path, or the bare name for the system to look for. */
static bert_status find_file(const char *name, char out[MOST_PATH], bert_error *error) {
    const char *folder = getenv("BERT_PLUGIN_DIR");
    char own[MOST_PATH];
    if (folder && folder[0]) {
        if (file_in(folder, ".", name, out)) return BERT_OK;
        return bert_fail(error, BERT_UNSUPPORTED, "libbertc_%s.so is not in %s, which BERT_PLUGIN_DIR names", name,
                         folder);
    }
    if (find_own_folder(own)) {
        for (size_t i = 0; i < sizeof nearby / sizeof *nearby; i++) {
            if (file_in(own, nearby[i], name, out)) return BERT_OK;
        }
    }
    snprintf(out, MOST_PATH, "libbertc_%s.so", name);
    return BERT_OK;
}

bert_status bert_plugin_open(const char *name, const bert_backend **out, bert_error *error) {
    char file[MOST_PATH], symbol[128];
    *out = NULL;
    BERT_TRY(find_file(name, file, error));
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *reason = dlerror();
        return bert_fail(error, BERT_UNSUPPORTED, "its plug-in can't be opened: %s", reason ? reason : file);
    }
    snprintf(symbol, sizeof symbol, "bert_%s_backend", name);
    bert_plugin_entry entry = NULL;
    void *address = dlsym(library, symbol);
    memcpy(&entry, &address, sizeof entry); /* as POSIX has it: ISO C knows no cast from data to code */
    if (!entry) return bert_fail(error, BERT_UNSUPPORTED, "its plug-in %s does not export %s", file, symbol);
    const bert_backend *backend = entry(BERT_BACKEND_ABI_VERSION);
    if (!backend || backend->abi_version != BERT_BACKEND_ABI_VERSION || backend->struct_size < sizeof *backend) {
        return bert_fail(error, BERT_UNSUPPORTED,
                         "its plug-in %s was built for another version of bert.c: version %d of bert/backend.h is "
                         "needed",
                         file, BERT_BACKEND_ABI_VERSION);
    }
    *out = backend;
    return BERT_OK;
}
