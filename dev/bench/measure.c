// measure SECONDS COMMAND …: runs a command, ends it after so many seconds, and prints what it took:
// `wall seconds, processor seconds, peak resident KiB, exit code or minus the signal`.
//
// A process of its own, and small: the kernel counts the memory of whoever starts a process as that process's.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pid_t child;

static void end(int signal_number) { kill(child, signal_number == SIGALRM ? SIGTERM : signal_number); }

static double seconds(struct timeval t) { return t.tv_sec + t.tv_usec / 1e6; }

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int count, char **arguments) {
	if (count < 3) return 2;
	double began = now();
	if ((child = fork()) == 0) {
		execvp(arguments[2], arguments + 2);
		perror(arguments[2]);
		_exit(127);
	}
	signal(SIGALRM, end);
	signal(SIGTERM, end);
	alarm(atoi(arguments[1]));
	int status;
	struct rusage usage;
	while (wait4(child, &status, 0, &usage) != child) {
	}
	double wall = now() - began;
	printf("%f %f %ld %d\n", wall, seconds(usage.ru_utime) + seconds(usage.ru_stime), usage.ru_maxrss,
	       WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
	return 0;
}
