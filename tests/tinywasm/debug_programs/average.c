/* A division by zero three calls deep. Built by build.sh, with the line tables that the test reads. */

static int sum(const int *numbers, int count) {
    int total = 0;
    for (int i = 0; i < count; i++)
        total += numbers[i];
    return total;
}

__attribute__((noinline)) static int divide(int total, int count) {
    return total / count;
}

__attribute__((noinline)) static int average(const int *numbers, int count) {
    int total = sum(numbers, count);
    return divide(total, count);
}

static const int numbers[] = {2, 3, 5, 7, 11};

__attribute__((export_name("average_of"))) int average_of(int count) {
    return average(numbers, count);
}
