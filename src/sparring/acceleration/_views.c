/* Views of images on a CPU, sample by sample: the operations of image_operations.py, each in one
 * pass over a sample that stays in cache. Tests hold each of them to PyTorch's own kernels. Plain C
 * without Python's headers: view_kernel.py calls it by ctypes.
 *
 * Arithmetic is IEEE single precision without contraction, so all variants below give the same
 * bits. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Variants for newer processors, of which the loader chooses one: GCC and the GNU C library can. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define FOR_EVERY_PROCESSOR __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EVERY_PROCESSOR
#endif
#ifdef _MSC_VER
#define INLINE static __forceinline
#else
#define INLINE static inline __attribute__((always_inline))
#endif

enum { BRIGHTNESS, CONTRAST, SATURATION, HUE };
enum { FLIP, JITTER, GREYSCALE, BLUR, SOLARISE, FLAGS };
enum { FACTORS = 5 }; /* brightness, contrast, saturation, hue, sigma */
enum { LANES = 16 };
enum { DONE, NO_MEMORY, REFUSED };       /* what sparring_make_views returns */
enum { LONGEST_SIDE = 1 << 20, LARGEST_VIEW = 1 << 14 };

static const float RED = 0.2989f, GREEN = 0.587f, BLUE = 0.114f;

typedef struct {
    const uint8_t *values;                    /* images, uint8 */
    int64_t sample, channel, row, column;     /* strides in bytes */
    int32_t height, width;
    int64_t count, bytes;                     /* number of images, and size of the memory at `values` */
} Images;

typedef struct {
    const int32_t *box;     /* top, left, height, width of each sample; NULL: already cropped */
    const int32_t *order;   /* the four operations of each sample's jitter */
    const float *factors;   /* FACTORS of each sample */
    const uint8_t *flags;   /* FLAGS of each sample */
    float threshold;        /* of solarisation */
    int32_t reach;          /* largest distance of a blur tap, pixels */
    float negligible;       /* share of the central tap below which taps are skipped */
} Parameters;

INLINE float within(float x) {
    x = x < 0.0f ? 0.0f : x;
    return x > 1.0f ? 1.0f : x;
}

/* Source of each output pixel: its first source pixel and the weights of `count` from there on, in
 * the order of the output. */
typedef struct {
    int32_t count;
    int32_t *first;
    float *weights;
} Taps;

static int32_t most_taps(int32_t length, int32_t size) {
    double step = (double)length / size, half = step > 1.0 ? step : 1.0;
    int32_t most = (int32_t)ceil(2.0 * half);
    return most < length ? most : length;
}

static void fill_taps(Taps taps, int32_t start, int32_t length, int32_t size, int mirror) {
    float step = (float)length / (float)size, half = step > 1.0f ? step : 1.0f;
    for (int32_t i = 0; i < size; i++) {
        float centre = start + step * (mirror ? size - (i + 0.5f) : i + 0.5f), sum = 0.0f;
        int32_t first = (int32_t)ceilf(centre - half - 0.5f);
        if (first > start + length - taps.count) first = start + length - taps.count;
        if (first < start) first = start;
        float *weights = taps.weights + (int64_t)i * taps.count;
        for (int32_t k = 0; k < taps.count; k++) {
            float weight = 1.0f - fabsf((first + k + 0.5f) / half - centre / half);
            weights[k] = weight > 0.0f ? weight : 0.0f;
            sum += weights[k];
        }
        for (int32_t k = 0; k < taps.count; k++) weights[k] /= sum;
        taps.first[i] = first;
    }
}

/* Rows first, along which memory is contiguous if the images are; then columns, over whole rows.
 * `narrow` holds box height rows. */
INLINE void crop(const Images *images, const uint8_t *image, const int32_t *box, int mirror, int32_t size, float *planes, float *narrow,
                 float *line, Taps rows, Taps columns) {
    int32_t top = box[0], left = box[1], height = box[2], width = box[3];
    rows.count = most_taps(height, size);
    columns.count = most_taps(width, size);
    fill_taps(rows, top, height, size, 0);
    fill_taps(columns, left, width, size, mirror);
    for (int32_t c = 0; c < 3; c++) {
        for (int32_t y = 0; y < height; y++) {
            const uint8_t *source = image + c * images->channel + (top + y) * images->row;
            for (int32_t x = 0; x < width; x++) line[x] = (float)source[(left + x) * images->column];
            float *out = narrow + (int64_t)y * size;
            if (columns.count == 2) {
                for (int32_t x = 0; x < size; x++) {
                    const float *at = line + columns.first[x] - left;
                    out[x] = at[0] * columns.weights[2 * x] + at[1] * columns.weights[2 * x + 1];
                }
            } else {
                for (int32_t x = 0; x < size; x++) {
                    const float *at = line + columns.first[x] - left, *weights = columns.weights + (int64_t)x * columns.count;
                    float sum = 0.0f;
                    for (int32_t k = 0; k < columns.count; k++) sum += at[k] * weights[k];
                    out[x] = sum;
                }
            }
        }
        for (int32_t i = 0; i < size; i++) {
            float *out = planes + ((int64_t)c * size + i) * size;
            const float *weights = rows.weights + (int64_t)i * rows.count;
            memset(out, 0, sizeof(float) * size);
            for (int32_t k = 0; k < rows.count; k++) {
                const float *in = narrow + (int64_t)(rows.first[i] - top + k) * size;
                const float weight = weights[k];
                if (weight == 0.0f) continue;
                for (int32_t x = 0; x < size; x++) out[x] += in[x] * weight;
            }
            for (int32_t x = 0; x < size; x++) out[x] = within(out[x] / 255.0f);
        }
    }
}

INLINE void take(const Images *images, const uint8_t *image, int mirror, float *planes) {
    int32_t height = images->height, width = images->width;
    for (int32_t c = 0; c < 3; c++) {
        for (int32_t y = 0; y < height; y++) {
            const uint8_t *source = image + c * images->channel + y * images->row;
            float *out = planes + ((int64_t)c * height + y) * width;
            if (mirror) {
                for (int32_t x = 0; x < width; x++) out[x] = source[(width - 1 - x) * images->column] / 255.0f;
            } else {
                for (int32_t x = 0; x < width; x++) out[x] = source[x * images->column] / 255.0f;
            }
        }
    }
}

INLINE float mean_of_grey(const float *r, const float *g, const float *b, int64_t pixels) {
    double total = 0.0;
    int64_t i = 0;
    for (; i + LANES * 64 <= pixels; i += LANES * 64) {
        float sums[LANES] = {0};
        for (int64_t j = i; j < i + LANES * 64; j += LANES) {
            for (int l = 0; l < LANES; l++) sums[l] += RED * r[j + l] + GREEN * g[j + l] + BLUE * b[j + l];
        }
        for (int l = 0; l < LANES; l++) total += sums[l];
    }
    for (; i < pixels; i++) total += RED * r[i] + GREEN * g[i] + BLUE * b[i];
    return (float)(total / pixels);
}

INLINE void brightness(float *planes, int64_t values, float factor) {
    for (int64_t i = 0; i < values; i++) planes[i] = within(planes[i] * factor);
}

INLINE void contrast(float *planes, int64_t pixels, float factor) {
    float ground = (1.0f - factor) * mean_of_grey(planes, planes + pixels, planes + 2 * pixels, pixels);
    for (int64_t i = 0; i < 3 * pixels; i++) planes[i] = within(planes[i] * factor + ground);
}

INLINE void saturation(float *restrict r, float *restrict g, float *restrict b, int64_t pixels, float factor) {
    for (int64_t i = 0; i < pixels; i++) {
        float ground = (1.0f - factor) * (RED * r[i] + GREEN * g[i] + BLUE * b[i]);
        r[i] = within(r[i] * factor + ground);
        g[i] = within(g[i] * factor + ground);
        b[i] = within(b[i] * factor + ground);
    }
}

/* Like `shift_hue` in image_operations.py, which gives the formula. */
INLINE void hue(float *restrict r, float *restrict g, float *restrict b, int64_t pixels, float shift) {
    for (int64_t i = 0; i < pixels; i++) {
        float low = r[i] < g[i] ? r[i] : g[i], high = r[i] > g[i] ? r[i] : g[i];
        low = low < b[i] ? low : b[i];
        high = high > b[i] ? high : b[i];
        float chroma = high - low;
        chroma = chroma > 1e-30f ? chroma : 1e-30f;
        float sixths = (g[i] + b[i] - r[i] - low) / chroma + 1.0f;
        sixths = g[i] < b[i] ? -sixths : sixths;
        float turns = (shift + 1.0f) + sixths * (1.0f / 6.0f);
        float h = (turns - (float)(int32_t)turns) * 6.0f;
        r[i] = low + chroma * within(fabsf(h - 3.0f) - 1.0f);
        g[i] = low + chroma * within(2.0f - fabsf(h - 2.0f));
        b[i] = low + chroma * within(2.0f - fabsf(h - 4.0f));
    }
}

INLINE void jitter(float *planes, int64_t pixels, const int32_t *order, const float *factors, int with_hue) {
    float *r = planes, *g = planes + pixels, *b = planes + 2 * pixels;
    for (int place = 0; place < 4; place++) {
        switch (order[place]) {
            case BRIGHTNESS: brightness(planes, 3 * pixels, factors[BRIGHTNESS]); break;
            case CONTRAST: contrast(planes, pixels, factors[CONTRAST]); break;
            case SATURATION: saturation(r, g, b, pixels, factors[SATURATION]); break;
            default: if (with_hue) hue(r, g, b, pixels, factors[HUE]);
        }
    }
}

INLINE void greyscale(float *restrict r, float *restrict g, float *restrict b, int64_t pixels) {
    for (int64_t i = 0; i < pixels; i++) r[i] = g[i] = b[i] = RED * r[i] + GREEN * g[i] + BLUE * b[i];
}

static int32_t mirrored(int32_t i, int32_t size) {
    i = i < 0 ? -i : i;
    return i >= size ? 2 * size - 2 - i : i;
}

/* Along rows into `narrow`, then along columns back; the kernel is symmetric and starts at its
 * centre. */
INLINE void blur(float *planes, int32_t size, const float *kernel, int32_t reach, float *narrow, float *line) {
    for (int32_t c = 0; c < 3; c++) {
        float *plane = planes + (int64_t)c * size * size;
        for (int32_t y = 0; y < size; y++) {
            const float *in = plane + (int64_t)y * size;
            float *restrict out = narrow + (int64_t)y * size;
            memcpy(line + reach, in, sizeof(float) * size);
            for (int32_t t = 1; t <= reach; t++) {
                line[reach - t] = in[mirrored(-t, size)];
                line[reach + size - 1 + t] = in[mirrored(size - 1 + t, size)];
            }
            for (int32_t x = 0; x < size; x++) out[x] = line[reach + x] * kernel[0];
            for (int32_t t = 1; t <= reach; t++) {
                const float *before = line + reach - t, *after = line + reach + t;
                const float weight = kernel[t];
                for (int32_t x = 0; x < size; x++) out[x] += (before[x] + after[x]) * weight;
            }
        }
        for (int32_t y = 0; y < size; y++) {
            float *restrict out = plane + (int64_t)y * size;
            const float *middle = narrow + (int64_t)y * size;
            for (int32_t x = 0; x < size; x++) out[x] = middle[x] * kernel[0];
            for (int32_t t = 1; t <= reach; t++) {
                const float *above = narrow + (int64_t)mirrored(y - t, size) * size;
                const float *below = narrow + (int64_t)mirrored(y + t, size) * size;
                const float weight = kernel[t];
                for (int32_t x = 0; x < size; x++) out[x] += (above[x] + below[x]) * weight;
            }
            for (int32_t x = 0; x < size; x++) out[x] = within(out[x]);
        }
    }
}

static int32_t fill_kernel(float *kernel, float sigma, int32_t reach, float negligible) {
    float sum = 0.0f;
    int32_t last = 0;
    for (int32_t t = 0; t <= reach; t++) {
        float place = t / sigma;
        kernel[t] = expf(-0.5f * place * place);
        if (kernel[t] < negligible) break;
        sum += t ? 2.0f * kernel[t] : kernel[t];
        last = t;
    }
    for (int32_t t = 0; t <= last; t++) kernel[t] /= sum;
    return last;
}

INLINE void solarise(float *planes, int64_t values, float threshold) {
    for (int64_t i = 0; i < values; i++) planes[i] = planes[i] >= threshold ? 1.0f - planes[i] : planes[i];
}

INLINE void interleave(const float *restrict planes, int64_t pixels, float *restrict out) {
    for (int64_t i = 0; i < pixels; i++) {
        out[3 * i] = planes[i];
        out[3 * i + 1] = planes[pixels + i];
        out[3 * i + 2] = planes[2 * pixels + i];
    }
}

/* Whether `steps` steps of a stride stay within `room` bytes, which they take away. */
static int fits(int64_t steps, int64_t stride, int64_t *room) {
    if (stride < 0 || (steps > 0 && stride > *room / steps)) return 0;
    *room -= steps * stride;
    return 1;
}

static int are_images(const Images *images, int32_t first, int32_t last) {
    if (!images || !images->values || images->height < 1 || images->width < 1) return 0;
    if (images->height > LONGEST_SIDE || images->width > LONGEST_SIDE) return 0;
    if (first < 0 || first >= last || last > images->count || images->bytes < 1) return 0;
    int64_t room = images->bytes - 1;
    return fits(images->count - 1, images->sample, &room) && fits(2, images->channel, &room) &&
           fits(images->height - 1, images->row, &room) && fits(images->width - 1, images->column, &room);
}

/* Written without sums, which a huge edge would carry beyond the largest number. */
static int is_inside(const int32_t *box, int32_t height, int32_t width) {
    int32_t top = box[0], left = box[1];
    if (top < 0 || left < 0 || top >= height || left >= width) return 0;
    return box[2] >= 1 && box[3] >= 1 && box[2] <= height - top && box[3] <= width - left;
}

static int is_sample(const Images *images, const Parameters *parameters, int32_t i) {
    const float *factors = parameters->factors + (int64_t)i * FACTORS;
    const int32_t *order = parameters->order + 4 * (int64_t)i;
    const uint8_t *flags = parameters->flags + (int64_t)i * FLAGS;
    if (parameters->box && !is_inside(parameters->box + 4 * (int64_t)i, images->height, images->width)) return 0;
    for (int k = 0; k < 4; k++) {
        if (flags[JITTER] && (order[k] < 0 || order[k] > HUE || !isfinite(factors[k]))) return 0;
    }
    if (flags[JITTER] && fabsf(factors[HUE]) > 1.0f) return 0;
    return !flags[BLUR] || (isfinite(factors[4]) && factors[4] > 0.0f);
}

/* Whether nothing is read or written beyond the memory that the caller describes; it cannot be
 * asked how long the arrays of parameters and of views are. */
static int are_arguments(const Images *images, const Parameters *parameters, int32_t first, int32_t last, int32_t size, const float *views) {
    if (!are_images(images, first, last) || !parameters || !views || size < 1 || size > LARGEST_VIEW) return 0;
    if (!parameters->order || !parameters->factors || !parameters->flags) return 0;
    if (parameters->reach < 0 || parameters->reach >= size) return 0;
    if (!isfinite(parameters->threshold) || !isfinite(parameters->negligible)) return 0;
    if (!parameters->box && (images->height != size || images->width != size)) return 0;
    for (int32_t i = first; i < last; i++) {
        if (!is_sample(images, parameters, i)) return 0;
    }
    return 1;
}

/* Writes samples [first, last) of a batch as views (sample, row, column, channel) of size x size.
 * Returns DONE, NO_MEMORY, or REFUSED for arguments that lead beyond the images; then no view is
 * written. */
FOR_EVERY_PROCESSOR
int32_t sparring_make_views(const Images *images, const Parameters *parameters, int32_t first, int32_t last, int32_t size, int32_t with_hue,
                            float *views) {
    if (!are_arguments(images, parameters, first, last, size, views)) return REFUSED;
    int64_t pixels = (int64_t)size * size;
    int32_t height = images->height, width = images->width, longest = height > width ? height : width;
    int32_t tallest = height > size ? height : size, most = most_taps(longest, size) + 2;
    int64_t line = (longest > size ? longest : size) + 2 * (int64_t)parameters->reach + 2;
    int64_t floats = 3 * pixels + (int64_t)tallest * size + line + 2 * (int64_t)size * most + parameters->reach + 1;
    float *memory = malloc(floats * sizeof(float) + 2 * size * sizeof(int32_t));
    if (!memory) return NO_MEMORY;
    float *planes = memory, *narrow = planes + 3 * pixels, *border = narrow + (int64_t)tallest * size, *weights = border + line;
    float *kernel = weights + 2 * (int64_t)size * most;
    int32_t *starts = (int32_t *)(kernel + parameters->reach + 1);
    Taps rows = {0, starts, weights}, columns = {0, starts + size, weights + (int64_t)size * most};
    for (int32_t i = first; i < last; i++) {
        const uint8_t *image = images->values + i * images->sample, *flags = parameters->flags + (int64_t)i * FLAGS;
        const float *factors = parameters->factors + (int64_t)i * FACTORS;
        if (parameters->box) {
            crop(images, image, parameters->box + 4 * (int64_t)i, flags[FLIP], size, planes, narrow, border, rows, columns);
        } else {
            take(images, image, flags[FLIP], planes);
        }
        if (flags[JITTER]) jitter(planes, pixels, parameters->order + 4 * (int64_t)i, factors, with_hue);
        if (flags[GREYSCALE]) greyscale(planes, planes + pixels, planes + 2 * pixels, pixels);
        if (flags[BLUR]) {
            int32_t reach = fill_kernel(kernel, factors[4], parameters->reach, parameters->negligible);
            blur(planes, size, kernel, reach, narrow, border);
        }
        if (flags[SOLARISE]) solarise(planes, 3 * pixels, parameters->threshold);
        interleave(planes, pixels, views + 3 * pixels * i);
    }
    free(memory);
    return DONE;
}

/* Changes with the structures above. */
int32_t sparring_views_interface(void) { return 2; }
