// SPDX-License-Identifier: MIT OR Apache-2.0
/* measure: run a command and write down what it used.
 *
 *   measure FILE COMMAND [ARG...]
 *
 * FILE gets one line: exit status (or 128 + signal), wall, user and system
 * seconds, peak memory in kB. User, system and memory are wait4's: of the
 * command and all descendants that were waited for, memory of the largest
 * one. (Started from a large process, a child's peak would be at least that
 * process' size; hence this small one between.) SIGTERM is left to the
 * command, so that a server can be ended with its process group.
 *
 * Build: cc -O2 -o measure measure.c
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct timespec a, b;
	struct rusage use;
	int status;
	pid_t pid;
	FILE *out;

	if (argc < 3)
		return 2;
	clock_gettime(CLOCK_MONOTONIC, &a);
	pid = vfork();
	if (pid < 0)
		return 1;
	if (pid == 0) {
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	signal(SIGTERM, SIG_IGN);
	while (wait4(pid, &status, 0, &use) < 0)
		if (errno != EINTR)
			return 1;
	clock_gettime(CLOCK_MONOTONIC, &b);
	status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	out = fopen(argv[1], "w");
	if (!out)
		return 1;
	fprintf(out, "%d %.6f %.6f %.6f %ld\n", status,
		(double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9,
		(double)use.ru_utime.tv_sec + (double)use.ru_utime.tv_usec / 1e6,
		(double)use.ru_stime.tv_sec + (double)use.ru_stime.tv_usec / 1e6,
		use.ru_maxrss);
	return fclose(out) != 0;
}
