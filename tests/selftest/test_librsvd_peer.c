/*
 * librsvd, and a server that does what no real one does
 *
 * The peer is our smbd with somebody in between, who changes its answers by a
 * script. The connection is neither signed nor encrypted, or the client would
 * notice that at once; what is tested is that it notices everything else.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/librsvd/librsvd_private.h"
#include "lib/util/sys_rw_data.h"
#include "libcli/smb/smb2_constants.h"
#include "modules/vhdx/vhdx.h"

#include <poll.h>
#include <setjmp.h>
#include <sys/wait.h>
#include <cmocka.h>

#define DISK_SIZE (16 * 1024 * 1024)
#define TIMEOUT_MSEC 30000

static const struct librsvd_guid initiator = { .bytes = { 0xA1, [15] = 1 } };

/* Offsets in an SMB2 message, MS-SMB2 2.2.1 */
#define SMB2_STATUS 8
#define SMB2_COMMAND 12
#define SMB2_CREDITS 14
#define SMB2_FLAGS 16
#define SMB2_BODY 64

enum verdict {
	PASS,	/* as it is now */
	DROP,	/* the client never sees it */
	CUT,	/* half of it, and that was it */
};

/*
 * What the peer does to the answers to *command*, from the one numbered
 * *first* on. The answer may be changed in place, and get shorter.
 */
struct script {
	uint16_t command;
	unsigned int first;
	enum verdict (*change)(uint8_t *smb2, size_t *length);
	/* 0: as many credits as smbd grants */
	uint16_t credits;
};

struct fixture {
	char name[32];
	char *path;
	pid_t peer;
	struct librsvd_conn *conn;
	struct librsvd_disk *disk;
};

/*
 * The peer
 */

static bool peer_read(int fd, uint8_t *buf, size_t length)
{
	return read_data(fd, buf, length) == (ssize_t)length;
}

/* One answer, from the server to the client. */
static bool peer_answer(const struct script *script, unsigned int *num,
			int server, int client)
{
	static uint8_t buf[4 + 16 * 1024 * 1024];
	enum verdict verdict = PASS;
	size_t length;
	uint16_t command;

	if (!peer_read(server, buf, 4)) {
		return false;
	}
	length = RIVAL(buf, 0) & 0xFFFFFF;
	if (!peer_read(server, buf + 4, length)) {
		return false;
	}
	command = SVAL(buf, 4 + SMB2_COMMAND);

	if (script->credits != 0 && command != SMB2_OP_NEGPROT &&
	    command != SMB2_OP_SESSSETUP && command != SMB2_OP_TCON) {
		SSVAL(buf, 4 + SMB2_CREDITS,
		      MIN(script->credits, SVAL(buf, 4 + SMB2_CREDITS)));
	}
	if (script->change != NULL && command == script->command &&
	    !NT_STATUS_EQUAL(NT_STATUS(IVAL(buf, 4 + SMB2_STATUS)),
			     NT_STATUS_PENDING)) {
		*num += 1;
		if (*num > script->first) {
			verdict = script->change(buf + 4, &length);
			RSIVAL(buf, 0, length);
		}
	}
	switch (verdict) {
	case PASS:
		return write_data(client, buf, 4 + length) ==
		       (ssize_t)(4 + length);
	case DROP:
		return true;
	case CUT:
		write_data(client, buf, (4 + length) / 2);
		break;
	}
	return false;
}

static bool peer_forward(int from, int to)
{
	uint8_t buf[65536];
	ssize_t n = read(from, buf, sizeof(buf));

	return n > 0 && write_data(to, buf, n) == n;
}

static void peer_run(const struct script *script, int listener)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons(atoi(getenv("SERVER_PORT"))),
	};
	unsigned int num = 0;
	int client, server;

	inet_pton(AF_INET, getenv("SERVER_IP"), &addr.sin_addr);
	client = accept(listener, NULL, NULL);
	server = socket(AF_INET, SOCK_STREAM, 0);
	if (client == -1 ||
	    connect(server, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
		_exit(1);
	}
	while (true) {
		struct pollfd fds[2] = {
			{ .fd = client, .events = POLLIN },
			{ .fd = server, .events = POLLIN },
		};

		if (poll(fds, 2, -1) == -1) {
			_exit(1);
		}
		if (fds[0].revents != 0 && !peer_forward(client, server)) {
			_exit(0);
		}
		if (fds[1].revents != 0 &&
		    !peer_answer(script, &num, server, client)) {
			_exit(0);
		}
	}
}

/*
 * Fixture
 */

static void assert_status(NTSTATUS status, NTSTATUS expected)
{
	if (!NT_STATUS_EQUAL(status, expected)) {
		fail_msg("%s, not %s", librsvd_status_string(NULL, status),
			 librsvd_status_string(NULL, expected));
	}
}

#define assert_ok(status) assert_status(status, NT_STATUS_OK)

static int setup(void **state)
{
	static unsigned int number;
	struct fixture *f = talloc_zero(NULL, struct fixture);
	struct vhdx_create_params params = {
		.virtual_size = DISK_SIZE,
		.block_size = 1024 * 1024,
	};
	struct vhdx_storage *storage = NULL;

	snprintf(f->name, sizeof(f->name), "peer%u.vhdx", ++number);
	f->path = talloc_asprintf(f, "%s/%s", getenv("LOCAL_PATH"), f->name);
	assert_int_equal(vhdx_storage_posix_open(f, f->path,
						 O_RDWR | O_CREAT | O_EXCL,
						 &storage), 0);
	assert_ok(vhdx_create(storage, &params));
	talloc_free(storage);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	talloc_free(f->conn);
	if (f->peer != 0) {
		waitpid(f->peer, NULL, 0);
	}
	unlink(f->path);
	talloc_free(f);
	return 0;
}

static NTSTATUS try_attach(struct fixture *f, const struct script *script,
			   uint32_t timeout_msec)
{
	struct librsvd_connect_params connect = {
		.server = "127.0.0.1",
		.share = getenv("SHARE"),
		.user = getenv("USERNAME"),
		.password = getenv("PASSWORD"),
		.signing = LIBRSVD_OFF,
		.encryption = LIBRSVD_OFF,
		.timeout_msec = timeout_msec,
	};
	struct librsvd_open_params params = {
		.path = f->name,
		.initiator_id = &initiator,
		.host_name = "node1",
	};
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t addr_length = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(listener, (struct sockaddr *)&addr,
			      sizeof(addr)), 0);
	assert_int_equal(listen(listener, 1), 0);
	getsockname(listener, (struct sockaddr *)&addr, &addr_length);
	connect.port = ntohs(addr.sin_port);

	f->peer = fork();
	assert_int_not_equal(f->peer, -1);
	if (f->peer == 0) {
		peer_run(script, listener);
	}
	close(listener);

	assert_ok(librsvd_connect(f, NULL, &connect, &f->conn));
	return librsvd_open(f->conn, f->conn, &params, &f->disk);
}

static void attach(struct fixture *f, const struct script *script)
{
	assert_ok(try_attach(f, script, TIMEOUT_MSEC));
}

/*
 * READ and WRITE: MS-SMB2 2.2.20, 2.2.22
 */

static enum verdict read_claims_more_than_is_there(uint8_t *smb2,
						   size_t *length)
{
	SIVAL(smb2, SMB2_BODY + 4, *length);
	return PASS;
}

static void a_read_answer_that_claims_more_than_it_has_is_refused(void **state)
{
	const struct script script = {
		.command = SMB2_OP_READ,
		.change = read_claims_more_than_is_there,
	};
	uint8_t buf[4096];

	attach(*state, &script);
	assert_status(librsvd_read(((struct fixture *)*state)->disk, buf,
				   sizeof(buf), 0, NULL),
		      NT_STATUS_INVALID_NETWORK_RESPONSE);
}

static enum verdict read_points_into_the_header(uint8_t *smb2, size_t *length)
{
	SCVAL(smb2, SMB2_BODY + 2, 8);
	return PASS;
}

static void a_read_answer_that_points_elsewhere_is_refused(void **state)
{
	const struct script script = {
		.command = SMB2_OP_READ,
		.change = read_points_into_the_header,
	};
	uint8_t buf[4096];

	attach(*state, &script);
	assert_status(librsvd_read(((struct fixture *)*state)->disk, buf,
				   sizeof(buf), 0, NULL),
		      NT_STATUS_INVALID_NETWORK_RESPONSE);
}

static enum verdict read_ends_early(uint8_t *smb2, size_t *length)
{
	SIVAL(smb2, SMB2_BODY + 4, 512);
	*length = SMB2_BODY + 16 + 512;
	return PASS;
}

static void a_read_counts_what_came_before_the_first_gap(void **state)
{
	const struct script script = {
		.command = SMB2_OP_READ,
		.change = read_ends_early,
		/* The first answer is whole. */
		.first = 1,
	};
	struct fixture *f = *state;
	size_t length = DISK_SIZE, nread = 0;
	uint8_t *buf = talloc_array(f, uint8_t, length);

	attach(f, &script);
	assert_true(librsvd_conn_max_io_size(f->conn) < length);
	assert_ok(librsvd_read(f->disk, buf, length, 0, &nread));
	/* Which pieces are answered first is the server's business. */
	assert_true(nread < length);
	assert_int_equal(nread % 512, 0);
}

static enum verdict write_took_half(uint8_t *smb2, size_t *length)
{
	SIVAL(smb2, SMB2_BODY + 4, 2048);
	return PASS;
}

static void half_a_write_is_no_success(void **state)
{
	const struct script script = {
		.command = SMB2_OP_WRITE,
		.change = write_took_half,
	};
	uint8_t buf[4096] = { 0 };

	attach(*state, &script);
	assert_status(librsvd_write(((struct fixture *)*state)->disk, buf,
				    sizeof(buf), 0, 0),
		      NT_STATUS_INVALID_NETWORK_RESPONSE);
}

/*
 * Credits: MS-SMB2 3.2.5.1.2
 */

static void one_credit_at_a_time_is_enough(void **state)
{
	const struct script script = { .credits = 1 };
	struct fixture *f = *state;
	size_t length = DISK_SIZE, nread = 0, i;
	uint8_t *data = talloc_array(f, uint8_t, length);
	uint8_t *back = talloc_zero_array(f, uint8_t, length);

	for (i = 0; i < length; i++) {
		data[i] = i * 7 + (i >> 10);
	}
	attach(f, &script);
	assert_ok(librsvd_write(f->disk, data, length, 0, 0));
	assert_ok(librsvd_read(f->disk, back, length, 0, &nread));
	assert_int_equal(nread, length);
	assert_memory_equal(back, data, length);
}

/*
 * A server that stops
 */

static enum verdict drop(uint8_t *smb2, size_t *length)
{
	return DROP;
}

static void a_request_without_answer_ends_with_a_timeout(void **state)
{
	const struct script script = {
		.command = SMB2_OP_FLUSH,
		.change = drop,
	};
	struct fixture *f = *state;

	assert_ok(try_attach(f, &script, 500));
	assert_status(librsvd_flush(f->disk), NT_STATUS_IO_TIMEOUT);
}

static enum verdict cut(uint8_t *smb2, size_t *length)
{
	return CUT;
}

static void half_an_answer_is_the_end_of_the_connection(void **state)
{
	const struct script script = {
		.command = SMB2_OP_READ,
		.change = cut,
	};
	struct fixture *f = *state;
	uint8_t buf[4096];
	NTSTATUS status;

	attach(f, &script);
	status = librsvd_read(f->disk, buf, sizeof(buf), 0, NULL);
	assert_true(NT_STATUS_EQUAL(status,
				    NT_STATUS_CONNECTION_DISCONNECTED) ||
		    NT_STATUS_EQUAL(status, NT_STATUS_CONNECTION_RESET));
	assert_false(librsvd_conn_is_connected(f->conn));
	/* And what comes after fails, too, instead of waiting. */
	status = librsvd_write(f->disk, buf, sizeof(buf), 0, 0);
	assert_false(NT_STATUS_IS_OK(status));
}

/*
 * The open and the tunnel
 */

static enum verdict forget_the_contexts(uint8_t *smb2, size_t *length)
{
	/* CreateContextsOffset and Length, MS-SMB2 2.2.14 */
	SIVAL(smb2, SMB2_BODY + 80, 0);
	SIVAL(smb2, SMB2_BODY + 84, 0);
	*length = SMB2_BODY + 88;
	return PASS;
}

static void a_server_that_takes_the_name_for_a_stream_is_told_apart(
	void **state)
{
	const struct script script = {
		.command = SMB2_OP_CREATE,
		.change = forget_the_contexts,
	};

	assert_status(try_attach(*state, &script, TIMEOUT_MSEC),
		      NT_STATUS_NOT_SUPPORTED);
}

/* The tunnel's answer, MS-RSVD 2.2.4.11: in the buffer of the IOCTL */
static uint8_t *tunnel(uint8_t *smb2)
{
	return smb2 + IVAL(smb2, SMB2_BODY + 32);
}

static enum verdict answer_another_operation(uint8_t *smb2, size_t *length)
{
	SIVAL(tunnel(smb2), 0, LIBRSVD_CHECK_CONNECTION_STATUS);
	return PASS;
}

static void the_answer_to_another_operation_is_refused(void **state)
{
	const struct script script = {
		.command = SMB2_OP_IOCTL,
		.change = answer_another_operation,
	};
	struct fixture *f = *state;
	struct librsvd_initial_info info;

	attach(f, &script);
	assert_status(librsvd_initial_info(f->disk, &info),
		      NT_STATUS_INVALID_NETWORK_RESPONSE);
}

static enum verdict answer_another_request(uint8_t *smb2, size_t *length)
{
	SBVAL(tunnel(smb2), 8, BVAL(tunnel(smb2), 8) + 1);
	return PASS;
}

static void the_answer_to_another_request_is_refused(void **state)
{
	const struct script script = {
		.command = SMB2_OP_IOCTL,
		.change = answer_another_request,
	};
	struct fixture *f = *state;
	struct librsvd_initial_info info;

	attach(f, &script);
	assert_status(librsvd_initial_info(f->disk, &info),
		      NT_STATUS_INVALID_NETWORK_RESPONSE);
}

static enum verdict fail_in_the_header(uint8_t *smb2, size_t *length)
{
	SIVAL(tunnel(smb2), 4, NT_STATUS_V(LIBRSVD_STATUS_VERSION_MISMATCH));
	return PASS;
}

static void a_status_in_the_header_is_that_of_the_operation(void **state)
{
	const struct script script = {
		.command = SMB2_OP_IOCTL,
		.change = fail_in_the_header,
	};
	struct fixture *f = *state;
	struct librsvd_initial_info info;

	attach(f, &script);
	assert_status(librsvd_initial_info(f->disk, &info),
		      LIBRSVD_STATUS_VERSION_MISMATCH);
}

static enum verdict shorten_the_output(uint8_t *smb2, size_t *length)
{
	/* One byte short of header and SVHDX_INITIAL_INFO_RESPONSE */
	SIVAL(smb2, SMB2_BODY + 36, 16 + 24 - 1);
	*length = IVAL(smb2, SMB2_BODY + 32) + 16 + 24 - 1;
	return PASS;
}

static void a_tunnel_answer_one_byte_short_is_refused(void **state)
{
	const struct script script = {
		.command = SMB2_OP_IOCTL,
		.change = shorten_the_output,
	};
	struct fixture *f = *state;
	struct librsvd_initial_info info;

	attach(f, &script);
	assert_status(librsvd_initial_info(f->disk, &info),
		      NT_STATUS_INVALID_NETWORK_RESPONSE);
}

static enum verdict no_sector_size(uint8_t *smb2, size_t *length)
{
	static const uint32_t sizes[] = { 0, 1, 256, 1000, 131072, 1 << 24 };
	static unsigned int num;

	/* SectorSize of SVHDX_TUNNEL_INITIAL_INFO_RESPONSE, 2.2.4.14 */
	SIVAL(tunnel(smb2), 16 + 4, sizes[num++ % ARRAY_SIZE(sizes)]);
	return PASS;
}

static void a_sector_size_that_no_disk_has_is_refused(void **state)
{
	const struct script script = {
		.command = SMB2_OP_IOCTL,
		.change = no_sector_size,
	};
	struct fixture *f = *state;
	struct librsvd_initial_info info;
	unsigned int i;

	attach(f, &script);
	for (i = 0; i < 6; i++) {
		assert_status(librsvd_initial_info(f->disk, &info),
			      NT_STATUS_INVALID_NETWORK_RESPONSE);
	}
}

static enum verdict busy(uint8_t *smb2, size_t *length)
{
	/* ScsiStatus of SVHDX_TUNNEL_SCSI_RESPONSE, MS-RSVD 2.2.4.8 */
	SCVAL(tunnel(smb2), 16 + 3, 0x08);
	return PASS;
}

static void a_disk_may_be_busy(void **state)
{
	const struct script script = {
		.command = SMB2_OP_IOCTL,
		.change = busy,
	};
	const uint8_t test_unit_ready[6] = { 0 };
	const struct librsvd_scsi_command command = {
		.cdb = test_unit_ready,
		.cdb_length = sizeof(test_unit_ready),
	};
	struct fixture *f = *state;
	struct librsvd_scsi_result result;

	attach(f, &script);
	assert_ok(librsvd_scsi(f, f->disk, &command, &result));
	assert_int_equal(result.sense.scsi_status, 0x08);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_read_answer_that_claims_more_than_it_has_is_refused),
		TEST(a_read_answer_that_points_elsewhere_is_refused),
		TEST(a_read_counts_what_came_before_the_first_gap),
		TEST(half_a_write_is_no_success),
		TEST(one_credit_at_a_time_is_enough),
		TEST(a_request_without_answer_ends_with_a_timeout),
		TEST(half_an_answer_is_the_end_of_the_connection),
		TEST(a_server_that_takes_the_name_for_a_stream_is_told_apart),
		TEST(the_answer_to_another_operation_is_refused),
		TEST(the_answer_to_another_request_is_refused),
		TEST(a_status_in_the_header_is_that_of_the_operation),
		TEST(a_tunnel_answer_one_byte_short_is_refused),
		TEST(a_sector_size_that_no_disk_has_is_refused),
		TEST(a_disk_may_be_busy),
	};
	TALLOC_CTX *frame = talloc_stackframe();
	int ret;

	cmocka_set_message_output(CM_OUTPUT_TAP);
	signal(SIGPIPE, SIG_IGN);
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	TALLOC_FREE(frame);
	return ret;
}
