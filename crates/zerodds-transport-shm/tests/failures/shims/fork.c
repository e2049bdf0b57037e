/* Forks on SIGUSR1, without exec; loaded with LD_PRELOAD. The child, whose pid goes to the file ZERODDS_TEST_FORKED, only
 * keeps what it inherited, for a minute at most. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static int file;

static void on_request(int request) {
    (void)request;
    int child = fork();
    if (child == 0) {
        alarm(60);
        for (;;)
            pause();
    }
    if (pwrite(file, &child, sizeof child, 0) < 0)
        abort();
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("ZERODDS_TEST_FORKED");
    if (!path)
        return;
    file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    struct sigaction action = {.sa_handler = on_request, .sa_flags = SA_RESTART};
    if (file < 0 || sigaction(SIGUSR1, &action, NULL))
        abort();
}
