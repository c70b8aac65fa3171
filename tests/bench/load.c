/*
 * load: keep a queue of reads and writes full, and count what gets done
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A shared virtual disk and a plain file go through the same code of the same
 * client, so that a difference between the two is the server's.
 *
 * What goes on is told on stdout, one JSON object on a line:
 *
 *   {"event": "connected", "port": N}	our end of the TCP connection, by
 *					which the caller finds the smbd that
 *					serves it
 *   {"event": "start"}			from here on it counts
 *   {"event": "end", ...}		the result
 *
 * With --wait it goes on after the first of these only when it is sent a line.
 * After the last the connection stays until stdin is closed: the caller can read
 * what the server's process has used up.
 *
 * How to reach the server is taken from the environment of ./waf selftest.
 */

#include "includes.h"
#include <jansson.h>
#include <popt.h>
#include "source3/librsvd/librsvd_private.h"
#include "tests/harness/connect.h"

/* The reservation key of all registrants */
#define LOAD_KEY 0x6c6f6164

/* Header, iSCSI name, NULs up to a multiple of four */
#define LOAD_TRANSPORT_ID_LENGTH (4 + 72)

struct load_options {
	char *share;
	char *path;
	int plain;
	char *signing;
	int encrypt;
	char *size;
	char *block_size;
	int queue_depth;
	char *pattern;
	int read_percent;
	int registrants;
	int wait;
	char *seconds;
	char *ramp_seconds;
	char *operations;
	int seed;
};

/* One place of the queue. */
struct load_slot {
	struct load *load;
	uint8_t *buf;
	bool is_write;
	struct timespec started;
};

struct load {
	struct tevent_context *ev;
	struct librsvd_conn *conn;
	struct librsvd_disk *disk;
	uint64_t open_usec;

	uint64_t num_blocks;
	uint32_t block_size;
	bool is_random;
	unsigned int read_percent;
	uint64_t random_state;
	uint64_t next_block;

	uint64_t max_operations;	/* 0: until the time is over */
	uint64_t submitted;
	struct timespec start;		/* what is done between them counts */
	struct timespec end;
	double cpu_seconds;		/* of this process at the start */
	size_t in_flight;
	NTSTATUS status;

	uint64_t num_reads;
	uint64_t num_writes;
	uint32_t *latency_usec;		/* of each operation that counts */
	size_t num_latencies;
};

static struct timespec load_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now;
}

static double load_seconds(const struct timespec *from,
			   const struct timespec *to)
{
	return (to->tv_sec - from->tv_sec) +
	       (to->tv_nsec - from->tv_nsec) / 1e9;
}

static struct timespec load_later(struct timespec when, double seconds)
{
	when.tv_sec += (time_t)seconds;
	when.tv_nsec += (long)((seconds - (time_t)seconds) * 1e9);
	if (when.tv_nsec >= 1000000000) {
		when.tv_sec += 1;
		when.tv_nsec -= 1000000000;
	}
	return when;
}

/* xorshift64*: the same patterns for every target, and next to no time. */
static uint64_t load_random(struct load *load)
{
	load->random_state ^= load->random_state >> 12;
	load->random_state ^= load->random_state << 25;
	load->random_state ^= load->random_state >> 27;
	return load->random_state * 0x2545F4914F6CDD1DULL;
}

static void load_print(json_t *object)
{
	json_dumpf(object, stdout, JSON_COMPACT);
	puts("");
	fflush(stdout);
	json_decref(object);
}

static void load_count(struct load *load, const struct load_slot *slot,
		       const struct timespec *now)
{
	if (load->max_operations == 0) {
		if (load_seconds(&load->start, now) < 0) {
			return;
		}
		if (load_seconds(&load->end, now) >= 0) {
			if (load->num_latencies > 0) {
				return;
			}
			/* One at least, which took that long. */
			load->end = *now;
		}
	}
	if (load->num_latencies == talloc_array_length(load->latency_usec)) {
		load->latency_usec = talloc_realloc(
			load, load->latency_usec, uint32_t,
			2 * load->num_latencies);
		if (load->latency_usec == NULL) {
			load->status = NT_STATUS_NO_MEMORY;
			return;
		}
	}
	load->latency_usec[load->num_latencies] =
		load_seconds(&slot->started, now) * 1e6;
	load->num_latencies += 1;
	if (slot->is_write) {
		load->num_writes += 1;
	} else {
		load->num_reads += 1;
	}
}

static void load_slot_done(struct tevent_req *req);

static void load_slot_start(struct load_slot *slot)
{
	struct load *load = slot->load;
	struct tevent_req *req = NULL;
	uint64_t block;

	if (load->is_random) {
		block = load_random(load) % load->num_blocks;
	} else {
		block = load->next_block;
		load->next_block = (block + 1) % load->num_blocks;
	}
	slot->is_write = load_random(load) % 100 >= load->read_percent;
	slot->started = load_now();

	if (slot->is_write) {
		req = librsvd_write_send(load, load->disk, slot->buf,
					 load->block_size,
					 block * load->block_size, 0);
	} else {
		req = librsvd_read_send(load, load->disk, slot->buf,
					load->block_size,
					block * load->block_size);
	}
	if (req == NULL) {
		load->status = NT_STATUS_NO_MEMORY;
		return;
	}
	load->submitted += 1;
	load->in_flight += 1;
	tevent_req_set_callback(req, load_slot_done, slot);
}

static void load_slot_done(struct tevent_req *req)
{
	/* One of an array, so not a talloc chunk with a type. */
	struct load_slot *slot = tevent_req_callback_data_void(req);
	struct load *load = slot->load;
	struct timespec now = load_now();
	size_t nread = load->block_size;
	NTSTATUS status;

	if (slot->is_write) {
		status = librsvd_write_recv(req);
	} else {
		status = librsvd_read_recv(req, &nread);
	}
	TALLOC_FREE(req);
	load->in_flight -= 1;

	if (NT_STATUS_IS_OK(status) && nread != load->block_size) {
		status = NT_STATUS_END_OF_FILE;
	}
	if (!NT_STATUS_IS_OK(status)) {
		load->status = status;
	}
	if (!NT_STATUS_IS_OK(load->status)) {
		return;
	}
	load_count(load, slot, &now);

	if (load->max_operations > 0) {
		load->end = now;
		if (load->submitted == load->max_operations) {
			return;
		}
	} else if (load_seconds(&load->end, &now) >= 0) {
		return;
	}
	load_slot_start(slot);
}

static double load_cpu_seconds(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return used.tv_sec + used.tv_nsec / 1e9;
}

static void load_ramp_over(struct tevent_context *ev, struct tevent_timer *te,
			   struct timeval current_time, void *private_data)
{
	struct load *load = talloc_get_type_abort(private_data, struct load);

	load->cpu_seconds = load_cpu_seconds();
	load_print(json_pack("{s:s}", "event", "start"));
}

static int load_compare(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a;
	uint32_t right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

static uint32_t load_percentile(const struct load *load, double percent)
{
	size_t rank = load->num_latencies * percent / 100;

	return load->latency_usec[MIN(rank, load->num_latencies - 1)];
}

static int load_report(struct load *load)
{
	double seconds = load_seconds(&load->start, &load->end);
	uint64_t operations = load->num_latencies;

	if (operations == 0 || seconds <= 0) {
		fprintf(stderr, "load: nothing was done\n");
		return 1;
	}
	qsort(load->latency_usec, load->num_latencies, sizeof(uint32_t),
	      load_compare);
	load_print(json_pack(
		"{s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:f, "
		"s:{s:i, s:i, s:i}}",
		"event", "end",
		"open_usec", (json_int_t)load->open_usec,
		"reads", (json_int_t)load->num_reads,
		"writes", (json_int_t)load->num_writes,
		"seconds", seconds,
		"iops", operations / seconds,
		"bytes_per_second",
		operations * (double)load->block_size / seconds,
		"client_cpu_seconds",
		load_cpu_seconds() - load->cpu_seconds,
		"latency_usec",
		"p50", (int)load_percentile(load, 50),
		"p99", (int)load_percentile(load, 99),
		"max", (int)load_percentile(load, 100)));
	return 0;
}

/*
 * librsvd opens shared virtual disks only. A plain file is one of its disks
 * once it is open: READ and WRITE need the file id, no more.
 */
static NTSTATUS load_open_plain(TALLOC_CTX *mem_ctx, struct librsvd_conn *conn,
				const char *path, struct librsvd_disk **_disk)
{
	struct librsvd_disk *disk = NULL;
	struct tevent_req *req = NULL;
	NTSTATUS status;

	disk = talloc_zero(mem_ctx, struct librsvd_disk);
	if (disk == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	req = smb2cli_create_send(disk, conn->ev, LIBRSVD_SMB2(conn), path,
				  SMB2_OPLOCK_LEVEL_NONE,
				  SMB2_IMPERSONATION_IMPERSONATION,
				  SEC_FILE_READ_DATA | SEC_FILE_WRITE_DATA |
				  SEC_FILE_READ_ATTRIBUTE |
				  SEC_STD_SYNCHRONIZE,
				  FILE_ATTRIBUTE_NORMAL,
				  FILE_SHARE_READ | FILE_SHARE_WRITE,
				  FILE_OPEN_IF,
				  FILE_NON_DIRECTORY_FILE |
				  FILE_NO_INTERMEDIATE_BUFFERING,
				  NULL);
	if (req == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	if (!tevent_req_poll_ntstatus(req, conn->ev, &status)) {
		return status;
	}
	status = smb2cli_create_recv(req, &disk->fid_persistent,
				     &disk->fid_volatile, NULL, NULL, NULL);
	TALLOC_FREE(req);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	disk->conn = conn;
	*_disk = disk;
	return NT_STATUS_OK;
}

static NTSTATUS load_connect(struct load *load,
			     const struct load_options *options)
{
	struct librsvd_connect_params params = harness_connect_params();
	const struct sockaddr_storage *local = NULL;
	NTSTATUS status;

	params.share = options->share;
	params.signing = LIBRSVD_OFF;
	params.encryption = LIBRSVD_OFF;
	if (strequal(options->signing, "required")) {
		params.signing = LIBRSVD_REQUIRED;
	}
	if (options->encrypt) {
		params.encryption = LIBRSVD_REQUIRED;
	}
	status = librsvd_connect(load, load->ev, &params, &load->conn);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	local = smbXcli_conn_local_sockaddr(load->conn->cli->conn);
	load_print(json_pack("{s:s, s:i}", "event", "connected", "port",
			     (int)get_sockaddr_port(local)));
	return NT_STATUS_OK;
}

static NTSTATUS load_pr_out(struct librsvd_disk *disk, uint8_t action,
			    const uint8_t *parameters, uint32_t length)
{
	const uint8_t write_exclusive_registrants_only = 0x5;
	uint8_t cdb[10] = { 0x5f, action, write_exclusive_registrants_only };
	struct librsvd_scsi_command command = {
		.cdb = cdb,
		.cdb_length = sizeof(cdb),
		.data_out = parameters,
		.data_out_length = length,
	};
	struct librsvd_scsi_result result;
	NTSTATUS status;

	RSIVAL(cdb, 5, length);
	status = librsvd_scsi(disk, disk, &command, &result);
	if (NT_STATUS_IS_OK(status) && result.sense.scsi_status != 0) {
		status = LIBRSVD_STATUS_RESERVATION_CONFLICT;
	}
	return status;
}

static NTSTATUS load_open_disk(struct load *load, const char *path,
			       struct librsvd_disk **disk)
{
	struct librsvd_guid initiator = librsvd_guid_random();
	struct librsvd_open_params params = {
		.path = path,
		.initiator_id = &initiator,
	};

	return librsvd_open(load, load->conn, &params, disk);
}

/* As docs/scsi.md has it, of an initiator with a number */
static void load_transport_id(uint8_t id[LOAD_TRANSPORT_ID_LENGTH],
			      uint32_t number)
{
	id[0] = 0x05;	/* iSCSI, the node format */
	RSSVAL(id, 2, LOAD_TRANSPORT_ID_LENGTH - 4);
	snprintf((char *)id + 4, LOAD_TRANSPORT_ID_LENGTH - 4,
		 "iqn.2013-08.org.samba:rsvd:load:"
		 "%08"PRIx32"-0000-4000-8000-000000000000", number);
}

/*
 * Register so many initiators, all by one command (SPC-4 6.16.3, SPEC_I_PT),
 * and let the one that does the work hold a reservation.
 */
static NTSTATUS load_register(struct librsvd_disk *disk, int num)
{
	const uint8_t pr_register = 0x00, pr_reserve = 0x01;
	const uint8_t spec_i_pt = 0x08;
	size_t ids_length = (num - 1) * LOAD_TRANSPORT_ID_LENGTH;
	uint8_t *parameters = NULL;
	NTSTATUS status;
	int i;

	parameters = talloc_zero_array(disk, uint8_t, 28 + ids_length);
	if (parameters == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	RSBVAL(parameters, 8, LOAD_KEY);
	parameters[20] = spec_i_pt;
	RSIVAL(parameters, 24, ids_length);
	for (i = 1; i < num; i++) {
		load_transport_id(parameters + 28 + (i - 1) *
				  LOAD_TRANSPORT_ID_LENGTH, i);
	}
	status = load_pr_out(disk, pr_register, parameters, 28 + ids_length);
	if (NT_STATUS_IS_OK(status)) {
		RSBVAL(parameters, 0, LOAD_KEY);
		parameters[20] = 0;
		status = load_pr_out(disk, pr_reserve, parameters, 24);
	}
	TALLOC_FREE(parameters);
	return status;
}

/* Who comes next finds none. */
static void load_unregister(struct librsvd_disk *disk)
{
	const uint8_t pr_clear = 0x03;
	uint8_t parameters[24] = { 0 };

	RSBVAL(parameters, 0, LOAD_KEY);
	load_pr_out(disk, pr_clear, parameters, sizeof(parameters));
}

static NTSTATUS load_open(struct load *load,
			  const struct load_options *options)
{
	struct timespec before = load_now(), after;
	NTSTATUS status;

	if (options->plain) {
		return load_open_plain(load, load->conn, options->path,
				       &load->disk);
	}
	status = load_open_disk(load, options->path, &load->disk);
	after = load_now();
	load->open_usec = load_seconds(&before, &after) * 1e6;
	if (NT_STATUS_IS_OK(status) && options->registrants > 0) {
		status = load_register(load->disk, options->registrants);
	}
	return status;
}

static NTSTATUS load_run(struct load *load, struct load_slot *slots,
			 size_t num_slots, double ramp_seconds,
			 double seconds)
{
	size_t i;

	load->start = load_later(load_now(), ramp_seconds);
	load->end = load_later(load->start, seconds);
	if (load->max_operations == 0 &&
	    tevent_add_timer(load->ev, load,
			     timeval_current_ofs_usec(ramp_seconds * 1e6),
			     load_ramp_over, load) == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	load->cpu_seconds = load_cpu_seconds();
	for (i = 0; i < num_slots; i++) {
		if (load->max_operations > 0 &&
		    load->submitted == load->max_operations) {
			break;
		}
		load_slot_start(&slots[i]);
	}
	while (load->in_flight > 0) {
		if (tevent_loop_once(load->ev) != 0) {
			return NT_STATUS_INTERNAL_ERROR;
		}
	}
	return load->status;
}

static struct load *load_create(TALLOC_CTX *mem_ctx,
				const struct load_options *options)
{
	struct load *load = NULL;

	load = talloc_zero(mem_ctx, struct load);
	if (load == NULL) {
		return NULL;
	}
	load->ev = samba_tevent_context_init(load);
	load->latency_usec = talloc_array(load, uint32_t, 65536);
	if (load->ev == NULL || load->latency_usec == NULL) {
		return NULL;
	}
	load->block_size = conv_str_size(options->block_size);
	load->is_random = strequal(options->pattern, "random");
	load->read_percent = options->read_percent;
	load->random_state = 0x9E3779B97F4A7C15ULL * (options->seed + 1);
	load->status = NT_STATUS_OK;
	if (options->operations != NULL) {
		load->max_operations = strtoull(options->operations, NULL, 0);
	}
	if (load->block_size > 0) {
		load->num_blocks =
			conv_str_size(options->size) / load->block_size;
	}
	if (load->num_blocks == 0 || options->queue_depth <= 0) {
		fprintf(stderr, "load: wrong size, block size or depth\n");
		return NULL;
	}
	return load;
}

static struct load_slot *load_slots_create(struct load *load, size_t num)
{
	struct load_slot *slots = talloc_zero_array(load, struct load_slot,
						    num);
	size_t i;

	if (slots == NULL) {
		return NULL;
	}
	for (i = 0; i < num; i++) {
		slots[i].load = load;
		slots[i].buf = talloc_array(slots, uint8_t, load->block_size);
		if (slots[i].buf == NULL) {
			return NULL;
		}
		/* Not zeros, which a file system may treat in its own way. */
		generate_random_buffer(slots[i].buf, load->block_size);
	}
	return slots;
}

int main(int argc, const char *argv[])
{
	TALLOC_CTX *frame = talloc_stackframe();
	/* What popt allocates stays reachable. */
	static struct load_options options = {
		.queue_depth = 1,
		.pattern = discard_const_p(char, "random"),
		.block_size = discard_const_p(char, "4K"),
		.read_percent = 100,
		.seconds = discard_const_p(char, "1"),
		.ramp_seconds = discard_const_p(char, "0.2"),
	};
	const struct poptOption table[] = {
		POPT_AUTOHELP
		{ "share", 0, POPT_ARG_STRING, &options.share, 0,
		  "share (default: $SHARE)", "NAME" },
		{ "plain", 0, POPT_ARG_NONE, &options.plain, 0,
		  "open a file, not a shared virtual disk; made if missing",
		  NULL },
		{ "path", 0, POPT_ARG_STRING, &options.path, 0,
		  "of the file, from the root of the share", "PATH" },
		{ "signing", 0, POPT_ARG_STRING, &options.signing, 0,
		  "sign every packet", "required" },
		{ "encrypt", 0, POPT_ARG_NONE, &options.encrypt, 0,
		  "encrypt every packet", NULL },
		{ "size", 0, POPT_ARG_STRING, &options.size, 0,
		  "stay within the first SIZE bytes", "SIZE" },
		{ "block-size", 0, POPT_ARG_STRING, &options.block_size, 0,
		  "of a read or write (default: 4K)", "SIZE" },
		{ "queue-depth", 0, POPT_ARG_INT, &options.queue_depth, 0,
		  "reads and writes in flight (default: 1)", "N" },
		{ "pattern", 0, POPT_ARG_STRING, &options.pattern, 0,
		  "random (default) or sequential", "PATTERN" },
		{ "read-percent", 0, POPT_ARG_INT, &options.read_percent, 0,
		  "so many of 100 are reads (default: 100)", "N" },
		{ "registrants", 0, POPT_ARG_INT, &options.registrants, 0,
		  "register N initiators, and reserve (default: 0)", "N" },
		{ "seconds", 0, POPT_ARG_STRING, &options.seconds, 0,
		  "how long to count (default: 1)", "S" },
		{ "ramp", 0, POPT_ARG_STRING, &options.ramp_seconds, 0,
		  "how long before it counts (default: 0.2)", "S" },
		{ "wait", 0, POPT_ARG_NONE, &options.wait, 0,
		  "for a line on stdin, when connected", NULL },
		{ "operations", 0, POPT_ARG_STRING, &options.operations, 0,
		  "do N of them, whatever time it takes", "N" },
		{ "seed", 0, POPT_ARG_INT, &options.seed, 0,
		  "of the random numbers", "N" },
		POPT_TABLEEND
	};
	poptContext pc = NULL;
	struct load *load = NULL;
	struct load_slot *slots = NULL;
	double ramp_seconds, seconds;
	NTSTATUS status;
	int ret = 1;
	char c;

	options.share = getenv("SHARE");
	pc = poptGetContext("load", argc, argv, table, 0);
	ret = poptGetNextOpt(pc);
	if (ret != -1 || poptPeekArg(pc) != NULL || options.share == NULL ||
	    options.path == NULL || options.size == NULL) {
		poptPrintUsage(pc, stderr, 0);
		ret = 1;
		goto done;
	}
	ret = 1;

	load = load_create(frame, &options);
	if (load == NULL) {
		goto done;
	}
	slots = load_slots_create(load, options.queue_depth);
	if (slots == NULL) {
		fprintf(stderr, "load: out of memory\n");
		goto done;
	}
	ramp_seconds = strtod(options.ramp_seconds, NULL);
	seconds = strtod(options.seconds, NULL);
	if (load->max_operations > 0) {
		ramp_seconds = 0;
	}

	status = load_connect(load, &options);
	if (NT_STATUS_IS_OK(status) && options.wait) {
		while (read(STDIN_FILENO, &c, 1) == 1 && c != '\n') {
			/* Not yet. */
		}
	}
	if (NT_STATUS_IS_OK(status)) {
		status = load_open(load, &options);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = load_run(load, slots, options.queue_depth,
				  ramp_seconds, seconds);
	}
	if (!NT_STATUS_IS_OK(status)) {
		fprintf(stderr, "load: %s: %s\n", options.path,
			librsvd_status_string(frame, status));
		goto done;
	}
	ret = load_report(load);
	if (options.registrants > 0) {
		load_unregister(load->disk);
	}
	while (ret == 0 && read(STDIN_FILENO, &c, 1) > 0) {
		/* The caller is not done yet. */
	}
done:
	poptFreeContext(pc);
	TALLOC_FREE(frame);
	return ret;
}
