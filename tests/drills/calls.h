/* What both kinds of faults share: calls are counted by kind, and a variable says CALL:K. Included where `enum call` and `names` are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long counts[CALLS];

/* The K of a variable that means this kind of call; 0 where it means another one. */
static long meant(const char *variable, enum call call) {
    const char *text = getenv(variable);
    size_t length = strlen(names[call]);
    return text && !strncmp(text, names[call], length) && text[length] == ':' ? atol(text + length + 1) : 0;
}

__attribute__((destructor)) static void report(void) {
    const char *name = getenv("DRILL_COUNT");
    FILE *file = name ? fopen(name, "w") : NULL;
    if (file) {
        for (int call = 0; call < CALLS; call++)
            fprintf(file, "%s %ld\n", names[call], counts[call]);
        fclose(file);
    }
}
