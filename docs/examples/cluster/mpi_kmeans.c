/* k-means over MPI: rank 0 reads the images and deals them out, every rank assigns its own, one Allreduce an iteration
 * gives all ranks the new centres. Rank 0 prints every iteration; at the end each rank prints what it holds: all agree.
 *
 * Usage: mpirun ... mpi_kmeans FILE      FILE has one image a line, 64 numbers each.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { PIXELS = 64, CENTRES = 10, LIMIT = 100 };

/* What an iteration adds up over all ranks. Only doubles, so that one Allreduce takes it whole. */
struct sums {
    double pixels[CENTRES][PIXELS];
    double images[CENTRES];
    double inertia; /* squared distances of all images to their centres */
    double moved;   /* images that changed their centre */
};

static void fail(const char *what, const char *path)
{
    fprintf(stderr, "mpi_kmeans: %s %s\n", what, path);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

/* Returns all images of the file; the caller frees them. */
static double *read_images(const char *path, int *count)
{
    FILE *file = fopen(path, "r");
    if (!file)
        fail("cannot open", path);
    size_t have = 0, room = 1 << 16;
    double *pixels = malloc(room * sizeof *pixels);
    while (pixels && fscanf(file, "%lf", &pixels[have]) == 1)
        if (++have == room)
            pixels = realloc(pixels, (room *= 2) * sizeof *pixels);
    fclose(file);
    if (!pixels)
        fail("no memory for", path);
    if (have < CENTRES * PIXELS || have % PIXELS)
        fail("not lines of 64 numbers:", path);
    *count = (int)(have / PIXELS);
    return pixels;
}

/* Gives each rank its part of all images, which only rank 0 needs to have; returns that part and its length. */
static double *deal(const double *all, int count, int rank, int size, int *mine)
{
    int *lengths = malloc(size * sizeof *lengths), *starts = malloc(size * sizeof *starts);
    for (int r = 0; r < size; r++) {
        int first = (int)((long)count * r / size), end = (int)((long)count * (r + 1) / size);
        starts[r] = first * PIXELS;
        lengths[r] = (end - first) * PIXELS;
    }
    double *part = malloc((lengths[rank] + 1) * sizeof *part);
    MPI_Scatterv(all, lengths, starts, MPI_DOUBLE, part, lengths[rank], MPI_DOUBLE, 0, MPI_COMM_WORLD);
    *mine = lengths[rank] / PIXELS;
    free(lengths);
    free(starts);
    return part;
}

/* Adds one image to the sums of its nearest centre and returns which one that is. */
static int assign(const double *image, double centres[CENTRES][PIXELS], struct sums *sums)
{
    int nearest = 0;
    double least = 0;
    for (int c = 0; c < CENTRES; c++) {
        double distance = 0;
        for (int p = 0; p < PIXELS; p++)
            distance += (image[p] - centres[c][p]) * (image[p] - centres[c][p]);
        if (c == 0 || distance < least) {
            nearest = c;
            least = distance;
        }
    }
    for (int p = 0; p < PIXELS; p++)
        sums->pixels[nearest][p] += image[p];
    sums->images[nearest] += 1;
    sums->inertia += least;
    return nearest;
}

int main(int argc, char **argv)
{
    int rank, size, count = 0, mine;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (argc != 2)
        fail("needs a file name;", "usage: mpi_kmeans FILE");

    double *all = rank == 0 ? read_images(argv[1], &count) : NULL;
    MPI_Bcast(&count, 1, MPI_INT, 0, MPI_COMM_WORLD);
    double *images = deal(all, count, rank, size, &mine);

    double centres[CENTRES][PIXELS]; /* at first, images from all over the file */
    if (rank == 0)
        for (int c = 0; c < CENTRES; c++)
            for (int p = 0; p < PIXELS; p++)
                centres[c][p] = all[(size_t)(count / CENTRES * c) * PIXELS + p];
    MPI_Bcast(centres, CENTRES * PIXELS, MPI_DOUBLE, 0, MPI_COMM_WORLD);

    struct sums sums;
    int *owner = calloc(mine + 1, sizeof *owner);
    for (int iteration = 1; iteration <= LIMIT; iteration++) {
        sums = (struct sums){0};
        for (int i = 0; i < mine; i++) {
            int nearest = assign(images + (size_t)i * PIXELS, centres, &sums) + 1; /* 0: none so far */
            sums.moved += nearest != owner[i];
            owner[i] = nearest;
        }
        MPI_Allreduce(MPI_IN_PLACE, &sums, sizeof sums / sizeof(double), MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
        if (rank == 0)
            printf("iteration %d inertia %.3f moved %.0f\n", iteration, sums.inertia, sums.moved);
        if (sums.moved == 0)
            break;
        for (int c = 0; c < CENTRES; c++)
            for (int p = 0; p < PIXELS && sums.images[c] > 0; p++)
                centres[c][p] = sums.pixels[c][p] / sums.images[c];
    }

    double total = 0;
    for (int c = 0; c < CENTRES; c++)
        for (int p = 0; p < PIXELS; p++)
            total += centres[c][p];
    char host[MPI_MAX_PROCESSOR_NAME];
    int length;
    MPI_Get_processor_name(host, &length);
    printf("rank %d of %d host %s images %d inertia %.3f centres %.8f\n", rank, size, host, mine, sums.inertia, total);

    free(owner);
    free(images);
    free(all);
    MPI_Finalize();
    return 0;
}
