/* Backends that are not part of the library: plug-ins, opened at run time. */
#ifndef BERT_RUNTIME_PLUGIN_H
#define BERT_RUNTIME_PLUGIN_H

#include <bert/backend.h>

/**
 * The backend of the plug-in libbertc_NAME.so, which exports bert_NAME_backend (see bert_plugin_entry). It is looked
 * for in the folder that the environment variable BERT_PLUGIN_DIR names; where that is not set, beside the library (or
 * the program that it is linked into), in the folders that an installation and a build have for libraries, and
 * where the system looks. BERT_UNSUPPORTED with the reason when it isn't there, can't be opened, or was built for
 * another version of bert/backend.h. What was opened stays open as long as the process. Any thread.
 */
bert_status bert_plugin_open(const char *name, const bert_backend **out, bert_error *error);

/** What a plug-in exports: its backend; NULL where it was built for another version than `abi_version`. */
typedef const bert_backend *(*bert_plugin_entry)(uint32_t abi_version);

#endif
