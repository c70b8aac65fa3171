/*
 * vfs_rsvd: the SG_IO devices on the disks that rsvd-sg has attached
 *
 * Part of the library that is loaded into programs of others, so it needs
 * nothing but libc: connections and credentials are rsvd-sg's.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include "source3/rsvd_sg/rsvd_sg.h"
#include "source3/rsvd_sg/rsvd_sg_wire.h"

static int client_connect(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const char *name = getenv(RSVD_SG_SOCKET);
	int fd;

	if (name == NULL || strlen(name) >= sizeof(addr.sun_path)) {
		errno = ENODEV;
		return -1;
	}
	memcpy(addr.sun_path, name, strlen(name));

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd == -1) {
		return -1;
	}
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
		int saved_errno = errno;

		syscall(SYS_close, fd);
		errno = saved_errno;
		return -1;
	}
	return fd;
}

static int client_send(int fd, const void *buf, size_t length)
{
	const uint8_t *p = buf;

	while (length > 0) {
		ssize_t n = send(fd, p, length, MSG_NOSIGNAL);

		if (n == -1 && errno == EINTR) {
			continue;
		}
		if (n == -1) {
			return -1;
		}
		p += n;
		length -= n;
	}
	return 0;
}

static int client_receive(int fd, void *buf, size_t length)
{
	uint8_t *p = buf;

	while (length > 0) {
		ssize_t n = recv(fd, p, length, 0);

		if (n == -1 && errno == EINTR) {
			continue;
		}
		if (n == 0) {
			errno = EIO;
		}
		if (n <= 0) {
			return -1;
		}
		p += n;
		length -= n;
	}
	return 0;
}

static int client_exchange(int fd, const struct rsvd_sg_request *request,
			   uint8_t *data, struct rsvd_sg_response *response)
{
	if (client_send(fd, request, sizeof(*request)) != 0) {
		return -1;
	}
	if (request->is_write &&
	    client_send(fd, data, request->data_length) != 0) {
		return -1;
	}
	if (client_receive(fd, response, sizeof(*response)) != 0) {
		return -1;
	}
	if (response->error != 0) {
		errno = response->error;
		return -1;
	}
	if (response->transferred > request->data_length ||
	    response->sense_length > sizeof(response->sense)) {
		errno = EIO;
		return -1;
	}
	if (request->is_read) {
		return client_receive(fd, data, response->transferred);
	}
	return 0;
}

static int client_call(const struct rsvd_sg_request *request, uint8_t *data,
		       struct rsvd_sg_response *response)
{
	int fd, ret, saved_errno;

	fd = client_connect();
	if (fd == -1) {
		return -1;
	}
	ret = client_exchange(fd, request, data, response);
	saved_errno = errno;
	/* close() is the one of this library, and would wait for our caller. */
	syscall(SYS_close, fd);
	errno = saved_errno;
	return ret;
}

static unsigned client_num_paths(void)
{
	const char *number = getenv(RSVD_SG_PATHS);

	return number != NULL ? strtoul(number, NULL, 10) : 0;
}

/* A handle is only the number of a path, plus one. */
static void *client_open(unsigned path)
{
	struct rsvd_sg_request request = { .path = path };
	struct rsvd_sg_response response;

	if (client_call(&request, NULL, &response) != 0) {
		return NULL;
	}
	return (void *)((uintptr_t)path + 1);
}

static void client_close(void *handle)
{
}

static int client_execute(void *handle, struct rsvd_sg_command *command)
{
	struct rsvd_sg_request request = {
		.path = (uintptr_t)handle - 1,
		.data_length = command->data_length,
		.is_write = command->is_write,
		.is_read = command->is_read,
		.cdb_length = command->cdb_length,
	};
	struct rsvd_sg_response response;

	if (command->cdb_length == 0 ||
	    command->cdb_length > sizeof(request.cdb)) {
		errno = EINVAL;
		return -1;
	}
	memcpy(request.cdb, command->cdb, command->cdb_length);
	if (client_call(&request, command->data, &response) != 0) {
		return -1;
	}

	command->transferred = response.transferred;
	command->status = response.status;
	command->sense_length = response.sense_length;
	memcpy(command->sense, response.sense, response.sense_length);
	return 0;
}

const struct rsvd_sg_backend rsvd_sg_backend = {
	.num_paths = client_num_paths,
	.open = client_open,
	.execute = client_execute,
	.close = client_close,
	/* What the disk of vfs_rsvd takes; others tell in VPD page B0. */
	.max_transfer_length = 1024 * 1024,
};
