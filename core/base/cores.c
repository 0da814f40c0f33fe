/* How many cores this process may use: affinity and control groups. */
#include "core/base/thread_pool.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int affinity_cores(void) {
    /* The kernel refuses a mask that is smaller than its own: grow until it fits. */
    for (int bits = 1024; bits <= 1 << 20; bits *= 2) {
        cpu_set_t *set = CPU_ALLOC(bits);
        if (!set) break;
        size_t bytes = CPU_ALLOC_SIZE(bits);
        int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (count > 0) return count;
    }
    return 1;
}

/* Numbers of the first line of a file, as many as `count`; how many there were. "max" ends the line. */
static int read_numbers(const char *path, long long *numbers, int count) {
    char line[128];
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    int found = 0;
    if (fgets(line, sizeof line, file)) {
        for (char *next = line, *end; found < count; found++, next = end) {
            numbers[found] = strtoll(next, &end, 10);
            if (end == next) break;
        }
    }
    fclose(file);
    return found;
}

static int cores_of_quota(long long quota, long long period) {
    if (quota <= 0 || period <= 0) return INT_MAX;
    long long cores = quota / period + (quota % period != 0);
    return cores < INT_MAX ? (int)cores : INT_MAX;
}

/* The least quota of the group `group` of a hierarchy mounted at `mount` and of the groups that it is in. */
static int hierarchy_cores(const char *mount, const char *group, bool version2) {
    char folder[PATH_MAX], path[PATH_MAX + 32];
    int least = INT_MAX;
    if (snprintf(folder, sizeof folder, "%s%s", mount, group) >= (int)sizeof folder) return least;
    const size_t root = strlen(mount);
    for (;;) {
        long long numbers[2];
        int cores = INT_MAX;
        if (version2) {
            snprintf(path, sizeof path, "%s/cpu.max", folder);
            if (read_numbers(path, numbers, 2) == 2) cores = cores_of_quota(numbers[0], numbers[1]);
        } else {
            snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
            int found = read_numbers(path, &numbers[0], 1);
            snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
            found += read_numbers(path, &numbers[1], 1);
            if (found == 2) cores = cores_of_quota(numbers[0], numbers[1]);
        }
        if (cores < least) least = cores;
        char *slash = strrchr(folder + root, '/');
        if (!slash) return least;
        *slash = '\0';
    }
}

/* Whether a comma-separated list holds a word. */
static bool list_has(const char *list, const char *word) {
    const size_t length = strlen(word);
    for (const char *next = list; *next;) {
        size_t size = strcspn(next, ",");
        if (size == length && memcmp(next, word, length) == 0) return true;
        next += size + (next[size] == ',');
    }
    return false;
}

int bert_cgroup_cores(const char *membership, const char *mount) {
    FILE *file = fopen(membership, "re");
    if (!file) return INT_MAX;
    char line[PATH_MAX + 256], folder[PATH_MAX];
    int least = INT_MAX;
    while (fgets(line, sizeof line, file)) { /* "4:cpu,cpuacct:/group", version 2: "0::/group" */
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        *group++ = '\0';
        controllers++;
        if (strstr(group, "..")) continue;
        const bool version2 = *controllers == '\0';
        const char *const places[2] = {version2 ? "" : "/cpu", version2 ? "/unified" : "/cpu,cpuacct"};
        if (!version2 && !list_has(controllers, "cpu")) continue;
        for (int i = 0; i < 2; i++) {
            if (snprintf(folder, sizeof folder, "%s%s", mount, places[i]) >= (int)sizeof folder) continue;
            int cores = hierarchy_cores(folder, group, version2);
            if (cores < least) least = cores;
        }
    }
    fclose(file);
    return least;
}

int bert_available_cores(void) {
    int cores = affinity_cores();
    int quota = bert_cgroup_cores("/proc/self/cgroup", "/sys/fs/cgroup");
    return quota < cores ? quota : cores;
}
