/* A handled SIGALRM 10,000 times a second, to each thread of the process in turn; loaded with LD_PRELOAD.
 * No SA_RESTART, so that every system call is interrupted. How many were handled is kept in the file ZERODDS_TEST_SIGNALS. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static unsigned long handled;
static int file;

static void on_alarm(int signal) {
    (void)signal;
    __atomic_add_fetch(&handled, 1, __ATOMIC_RELAXED);
}

static void *interrupt_all(void *unused) {
    (void)unused;
    long self = syscall(SYS_gettid);
    const struct timespec pause = {0, 100 * 1000};
    prctl(PR_SET_TIMERSLACK, 1);
    for (;;) {
        DIR *threads = opendir("/proc/self/task");
        struct dirent *thread;
        while (threads && (thread = readdir(threads))) {
            long id = atol(thread->d_name);
            if (id > 0 && id != self) {
                syscall(SYS_tgkill, getpid(), id, SIGALRM);
                nanosleep(&pause, NULL);
            }
        }
        if (threads)
            closedir(threads);
        unsigned long now = __atomic_load_n(&handled, __ATOMIC_RELAXED);
        if (pwrite(file, &now, sizeof now, 0) < 0)
            abort();
    }
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("ZERODDS_TEST_SIGNALS");
    if (!path)
        return;
    file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    struct sigaction action = {.sa_handler = on_alarm};
    pthread_t thread;
    if (file < 0 || sigaction(SIGALRM, &action, NULL) || pthread_create(&thread, NULL, interrupt_all, NULL))
        abort();
}
