/* Random arguments for the kernel of views, sensible and hostile, in memory of exactly the size that
 * they describe. Built with sanitizers, which end the process at the first access beyond it:
 * `make sanitize`. Prints how many calls were served and refused. */

#include "../../src/sparring/acceleration/_views.c"

#include <stdio.h>

static uint64_t state = 88172645463325252ull;

static uint64_t draw(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static int32_t below(int32_t end) { return (int32_t)(draw() % (uint64_t)end); }

static int32_t odd_number(void) {
    static const int32_t odd[] = {0, -1, 1, INT32_MIN, INT32_MAX, 1 << 20, -(1 << 20), 65536};
    return odd[below(sizeof odd / sizeof *odd)];
}

static float odd_factor(void) {
    static const float odd[] = {0.0f, -0.0f, -1.0f, 1e-45f, 3.4e38f, -3.4e38f, INFINITY, -INFINITY, NAN, 1.0f};
    return odd[below(sizeof odd / sizeof *odd)];
}

enum { MOST = 3 };

static int32_t call(void) {
    int32_t count = 1 + below(MOST), height = 1 + below(40), width = 1 + below(40), size = 1 + below(40);
    int is_whole = below(4) == 0, is_hostile = below(2);
    if (is_whole) height = width = size;
    int64_t bytes = 3ll * count * height * width;
    uint8_t *values = malloc(bytes);
    int32_t *boxes = malloc(sizeof(int32_t) * 4 * count), *order = malloc(sizeof(int32_t) * 4 * count);
    float *factors = malloc(sizeof(float) * FACTORS * count), *views = malloc(sizeof(float) * 3 * size * size * count);
    uint8_t *flags = malloc(FLAGS * count);
    for (int64_t i = 0; i < bytes; i++) values[i] = (uint8_t)draw();
    for (int32_t i = 0; i < count; i++) {
        int32_t *box = boxes + 4 * i;
        box[0] = below(height), box[1] = below(width), box[2] = 1 + below(height - box[0]), box[3] = 1 + below(width - box[1]);
        for (int k = 0; k < 4; k++) order[4 * i + k] = (k + below(4)) % 4;
        for (int k = 0; k < FACTORS; k++) factors[FACTORS * i + k] = 0.1f + below(1000) / 1000.0f * 0.9f;
        for (int k = 0; k < FLAGS; k++) flags[FLAGS * i + k] = (uint8_t)below(2);
    }
    int is_last = below(2); /* channels last in memory */
    Images images = {values, 3ll * height * width, is_last ? 1 : (int64_t)height * width, is_last ? 3ll * width : width, is_last ? 3 : 1,
                     height, width, count, bytes};
    Parameters parameters = {is_whole ? NULL : boxes, order, factors, flags, 0.5f, below(size), 1e-4f};
    int32_t first = 0, last = count, given = size;
    for (int changes = is_hostile ? 1 + below(3) : 0; changes > 0; changes--) {
        switch (below(14)) {
            case 0: case 1: case 2: boxes[below(4 * count)] = odd_number(); break;
            case 3: order[below(4 * count)] = odd_number(); break;
            case 4: case 5: factors[below(FACTORS * count)] = odd_factor(); break;
            case 6: parameters.reach = odd_number(); break;
            case 7: parameters.threshold = odd_factor(); break;
            case 8: parameters.negligible = odd_factor(); break;
            case 9: given = below(2) ? -below(3) : LARGEST_VIEW + 1 + below(9); break;
            case 10: (below(2) ? &images.height : &images.width)[0] = odd_number(); break;
            case 11: last = odd_number(); break;
            case 12: first = odd_number(); break;
            default: (below(2) ? &images.sample : &images.row)[0] = odd_number() * (int64_t)odd_number();
        }
    }
    int32_t ended = sparring_make_views(&images, &parameters, first, last, given, below(2), views);
    free(values), free(boxes), free(order), free(factors), free(views), free(flags);
    if (!is_hostile && ended != DONE) {
        fprintf(stderr, "sensible arguments were refused\n");
        exit(1);
    }
    return ended;
}

int main(int argc, char **argv) {
    long ends[3] = {0};
    for (long left = argc > 1 ? atol(argv[1]) : 20000; left > 0; left--) ends[call()]++;
    printf("views: %ld calls served, %ld refused\n", ends[DONE], ends[REFUSED]);
    return ends[DONE] && ends[REFUSED] ? 0 : 1;
}
