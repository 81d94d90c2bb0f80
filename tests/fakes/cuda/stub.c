/* A stand-in for libcuda.so.1, for hosts without a GPU: memory is the process's own, and the kernels of `agent.check`
 * are known by their names and calculated on the CPU. It shows that the calls are right and that errors are found; that
 * the PTX does what is calculated here, only a GPU can show.
 *
 * What the file named by RALLYPOINT_CUDA_STUB says is read at each launch. A line is "key=value":
 *   memory=BYTES     of the GPU (8 MiB)
 *   init=N, context=N, launch=N   the call fails with this CUDA error
 *   flip=BITS        one word of memory gives back these bits the other way round, from the next `verify` on
 *   wrong=chaos|tensor, from=ROUNDS   one thread of that kernel errs, when it has at least so many rounds
 *   hang=1           a launch never returns
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NO_DEVICE = 100, OUT_OF_MEMORY = 2, INVALID_VALUE = 1, NOT_FOUND = 500, VALUE_SIZE = 100 };
typedef uint64_t address_t;

static size_t used;

static long get(const char *key, long otherwise, char *text) {
    const char *path = getenv("RALLYPOINT_CUDA_STUB");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[VALUE_SIZE];
    size_t length = strlen(key);
    if (!file) return otherwise;
    while (fgets(line, sizeof line, file))
        if (!strncmp(line, key, length) && line[length] == '=') {
            otherwise = strtol(line + length + 1, NULL, 0);
            if (text) snprintf(text, VALUE_SIZE, "%.*s", (int)strcspn(line + length + 1, "\n"), line + length + 1);
        }
    fclose(file);
    return otherwise;
}

int cuInit(unsigned flags) { (void)flags; return (int)get("init", 0, NULL); }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal ? NO_DEVICE : 0; }

int cuGetErrorName(int code, const char **name) {
    static char text[40];
    snprintf(text, sizeof text, "CUDA_ERROR_OF_STUB_%d", code);
    *name = text;
    return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    *value = attribute == 16 ? 1 : attribute == 75 ? (int)get("major", 9, NULL) : 0;
    return 0;
}

int cuDevicePrimaryCtxRetain(void **context, int device) {
    (void)device;
    *context = &used;
    return (int)get("context", 0, NULL);
}

int cuCtxSetCurrent(void *context) { return context == &used ? 0 : INVALID_VALUE; }
int cuCtxSynchronize(void) { return 0; }

int cuMemGetInfo_v2(size_t *left, size_t *total) {
    *total = (size_t)get("memory", 8 << 20, NULL);
    *left = *total - used;
    return 0;
}

/* The size stands before what is given out. */
int cuMemAlloc_v2(address_t *out, size_t size) {
    size_t left, total;
    cuMemGetInfo_v2(&left, &total);
    if (size > left) return OUT_OF_MEMORY;
    size_t *block = malloc(size + 64);
    *block = size;
    used += size;
    *out = (address_t)(uintptr_t)block + 64;
    return 0;
}

int cuMemFree_v2(address_t address) {
    size_t *block = (size_t *)(uintptr_t)(address - 64);
    used -= *block;
    free(block);
    return 0;
}

int cuMemcpyDtoH_v2(void *to, address_t from, size_t size) { memcpy(to, (void *)(uintptr_t)from, size); return 0; }
int cuMemcpyHtoD_v2(address_t to, const void *from, size_t size) { memcpy((void *)(uintptr_t)to, from, size); return 0; }

int cuModuleLoadData(void **module, const void *image) {
    *module = strdup(image); /* as the driver does: the text need not stay */
    return strstr(image, ".visible .entry") ? 0 : INVALID_VALUE;
}

int cuModuleGetFunction(const char **function, void *module, const char *name) {
    static const char *const names[] = {"fill", "verify", "chaos", "tensor"};
    char entry[64];
    snprintf(entry, sizeof entry, ".entry %s(", name);
    if (!strstr(module, entry)) return NOT_FOUND;
    for (unsigned i = 0; i < 4; i++)
        if (!strcmp(name, names[i])) { *function = names[i]; return 0; }
    return NOT_FOUND;
}

static uint32_t word(uint64_t place, uint32_t seed) {
    return ((uint32_t)place * 0x9E3779B1u + (uint32_t)(place >> 32) * 0x85EBCA77u) ^ seed;
}

static void verify(const uint32_t *base, uint64_t words, uint32_t seed, uint64_t *found) {
    uint32_t flip = (uint32_t)get("flip", 0, NULL);
    for (uint64_t i = 0; i < words; i++) {
        uint32_t told = base[i] ^ (i == words / 2 ? flip : 0), expected = word(i, seed);
        if (told == expected) continue;
        found[0]++;
        if (i < found[1]) found[1] = i;
        found[2] |= told ^ expected;
    }
}

static uint32_t chaos(unsigned lane, uint32_t rounds) {
    float value = fmaf((float)lane, 0.015625f, 0.1f);
    uint32_t sum = 0, bits;
    while (rounds--) {
        value = fmaf(value * value, -1.9f, 1.0f);
        memcpy(&bits, &value, sizeof bits);
        sum = sum * 1664525u + bits;
    }
    return sum;
}

/* Warps are all alike: the first is calculated. */
static void calculate(const char *name, uint32_t *out, unsigned threads, uint32_t rounds) {
    char wrong[VALUE_SIZE] = "";
    float sum = 24.0f * (float)rounds;
    for (unsigned thread = 0; thread < threads; thread++)
        if (!strcmp(name, "tensor")) memcpy(out + thread, &sum, sizeof sum);
        else out[thread] = thread < 32 ? chaos(thread, rounds) : out[thread % 32];
    get("wrong", 0, wrong);
    if (!strcmp(wrong, name) && rounds >= (uint32_t)get("from", 0, NULL)) out[threads - 1] ^= 1;
    if (!strcmp(name, "tensor")) usleep(rounds / 1000);
}

int cuLaunchKernel(const char *function, unsigned blocks, unsigned y, unsigned z, unsigned threads, unsigned ty,
                   unsigned tz, unsigned shared, void *stream, void **arguments, void **extra) {
    (void)y, (void)z, (void)ty, (void)tz, (void)shared, (void)stream, (void)extra;
    void *base = (void *)(uintptr_t) * (address_t *)arguments[0];
    if (get("hang", 0, NULL)) for (;;) pause();
    if (!strcmp(function, "chaos") || !strcmp(function, "tensor"))
        calculate(function, base, blocks * threads, *(uint32_t *)arguments[1]);
    else if (!strcmp(function, "fill"))
        for (uint64_t i = 0; i < *(uint64_t *)arguments[1]; i++)
            ((uint32_t *)base)[i] = word(i, *(uint32_t *)arguments[2]);
    else
        verify(base, *(uint64_t *)arguments[1], *(uint32_t *)arguments[2],
               (uint64_t *)(uintptr_t) * (address_t *)arguments[3]);
    return (int)get("launch", 0, NULL);
}
