/* Makes getppid fork, without exec; loaded with LD_PRELOAD. It answers 0 in the child, which has a minute, and in the parent how
 * the child has ended: 1 for an exit with 0. */
#include <sys/wait.h>
#include <unistd.h>

pid_t getppid(void) {
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        return 0;
    }
    int status = -2;
    waitpid(child, &status, 0);
    return status + 1;
}
