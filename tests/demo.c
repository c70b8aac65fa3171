/*
 * The middle part of ./waf demo: two initiators share one disk.
 *
 * Each has a connection of its own, so a smbd of its own. Says what each
 * operation returned, and ends with an error when one was not what a disk
 * owes its initiators.
 *
 * usage: demo DISK EXPECTED
 *
 * DISK is the path on the share. What the disk has to contain at the end is
 * written to the file EXPECTED, for others to compare the image with. How to
 * reach the server is taken from the environment of ./waf selftest.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "includes.h"
#include <sys/mman.h>
#include "source3/librsvd/librsvd.h"
#include "tests/harness/connect.h"

#define SECTOR 512

struct initiator {
	char name;
	struct librsvd_guid guid;
	struct librsvd_conn *conn;
	struct librsvd_disk *disk;
};

/* What the disk has to contain. */
static uint8_t *expected;
static uint64_t disk_size;

static int num_surprises;

static void print_title(const char *title)
{
	printf("\n%s\n", title);
}

/* One operation: who, what, what it returned, and is that right? */
static void PRINTF_ATTRIBUTE(4, 5) print_result(
	const struct initiator *who, const char *what, bool ok,
	const char *fmt, ...)
{
	va_list ap;

	printf("  %c  %-34s ", who->name, what);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("%s\n", ok ? "" : "   <-- NOT EXPECTED");
	fflush(stdout);
	if (!ok) {
		num_surprises += 1;
	}
}

static const char *status_name(NTSTATUS status)
{
	return librsvd_status_string(talloc_tos(), status);
}

/* A status with nothing more to say. */
static void print_status(const struct initiator *who, const char *what,
			 NTSTATUS status, NTSTATUS right)
{
	print_result(who, what, NT_STATUS_EQUAL(status, right), "%s",
		     status_name(status));
}

static bool attach(TALLOC_CTX *mem_ctx, struct initiator *who, char name,
		   const char *path)
{
	struct librsvd_connect_params connect_params =
		harness_connect_params();
	struct librsvd_open_params open_params = {
		.path = path,
		.initiator_id = &who->guid,
		.host_name = name == 'A' ? "node-a" : "node-b",
	};
	const struct librsvd_open_response *response = NULL;
	NTSTATUS status;

	who->name = name;
	who->guid = librsvd_guid_random();
	status = librsvd_connect(mem_ctx, NULL, &connect_params, &who->conn);
	if (!NT_STATUS_IS_OK(status)) {
		print_status(who, "connect", status, NT_STATUS_OK);
		return false;
	}
	print_result(who, "connect", true, "%s, dialect %04x",
		     status_name(status), librsvd_conn_dialect(who->conn));

	status = librsvd_open(mem_ctx, who->conn, &open_params, &who->disk);
	if (!NT_STATUS_IS_OK(status)) {
		print_status(who, "open", status, NT_STATUS_OK);
		return false;
	}
	response = librsvd_disk_open_response(who->disk);
	print_result(who, "open", true, "%s, context version %u",
		     status_name(status), response->version);
	print_result(who, "  as initiator", true, "%s",
		     librsvd_guid_string(mem_ctx, &response->initiator_id));
	print_result(who, "  disk", true,
		     "%"PRIu64" MiB, sectors of %"PRIu32" bytes "
		     "(physical %"PRIu32")", response->virtual_size >> 20,
		     response->sector_size, response->physical_sector_size);
	disk_size = response->virtual_size;
	return true;
}

/*
 * Run a command that prints something. Its text is ours: what it needs comes
 * from the environment.
 */
static void show_command(const char *title, const char *command)
{
	printf("\n%s\n", title);
	fflush(stdout);
	if (system(command) != 0) {
		printf("  that failed   <-- NOT EXPECTED\n");
		num_surprises += 1;
	}
}

/*
 * The operations that ask
 */

static void show_tunnel(struct initiator *who)
{
	struct librsvd_support support = { .support = 0 };
	struct librsvd_initial_info initial = { .sector_size = 0 };
	struct librsvd_disk_info info = { .type = 0 };
	bool is_valid = false;
	NTSTATUS status;

	status = librsvd_query_support(who->disk, &support);
	print_result(who, "QUERY_SHARED_VIRTUAL_DISK_SUPPORT",
		     NT_STATUS_IS_OK(status) &&
		     support.handle_state == LIBRSVD_HANDLE_SHARED,
		     "%s, support %"PRIu32", handle state %"PRIu32,
		     status_name(status), support.support,
		     support.handle_state);

	status = librsvd_initial_info(who->disk, &initial);
	print_result(who, "GET_INITIAL_INFO", NT_STATUS_IS_OK(status),
		     "%s, server version %"PRIu32", %"PRIu64" MiB",
		     status_name(status), initial.server_version,
		     initial.virtual_size >> 20);

	status = librsvd_check_connection(who->disk);
	print_status(who, "CHECK_CONNECTION_STATUS", status, NT_STATUS_OK);

	status = librsvd_disk_info(who->disk, &info);
	print_result(who, "GET_DISK_INFO",
		     NT_STATUS_IS_OK(status) &&
		     info.type == LIBRSVD_DISK_DYNAMIC &&
		     info.format == LIBRSVD_FORMAT_VHDX,
		     "%s, a %s %s, blocks of %"PRIu32" MiB, "
		     "file of %"PRIu64" MiB", status_name(status),
		     info.type == LIBRSVD_DISK_DYNAMIC ? "dynamic" : "fixed",
		     info.format == LIBRSVD_FORMAT_VHDX ? "VHDX" : "VHD set",
		     info.block_size >> 20, info.file_size >> 20);

	status = librsvd_validate(who->disk, &is_valid);
	print_result(who, "VALIDATE_DISK",
		     NT_STATUS_IS_OK(status) && is_valid, "%s, %s",
		     status_name(status), is_valid ? "valid" : "not valid");
}

/*
 * SCSI
 */

struct scsi {
	const char *name;
	uint8_t cdb[LIBRSVD_MAX_CDB];
	size_t cdb_length;
	const uint8_t *data_out;
	uint32_t data_out_length;
	uint32_t data_in_length;
	struct librsvd_scsi_result result;
};

/* Fill a CDB: the length of the array is that of the CDB. */
#define SCSI_CDB(...) \
	.cdb = { __VA_ARGS__ }, \
	.cdb_length = sizeof((uint8_t[]){ __VA_ARGS__ })

static char *scsi_text(const struct librsvd_sense *sense)
{
	char *text = NULL;

	text = talloc_strdup(talloc_tos(), librsvd_scsi_status_string(
				     sense->scsi_status));
	if (sense->scsi_status == 0x02) {
		talloc_asprintf_addbuf(&text, ": %s", librsvd_sense_string(
			talloc_tos(), sense->data, sense->length));
	}
	return text;
}

/* Execute, without a word when all went well. */
static bool scsi_execute(struct initiator *who, struct scsi *scsi)
{
	struct librsvd_scsi_command command = {
		.cdb = scsi->cdb,
		.cdb_length = scsi->cdb_length,
		.data_out = scsi->data_out,
		.data_out_length = scsi->data_out_length,
		.data_in_length = scsi->data_in_length,
	};
	NTSTATUS status;

	status = librsvd_scsi(who->disk, who->disk, &command, &scsi->result);
	if (!NT_STATUS_IS_OK(status)) {
		print_status(who, scsi->name, status, NT_STATUS_OK);
		return false;
	}
	return true;
}

/* Execute, and show how it ended; scsi_status is what it owes us. */
static bool scsi_show(struct initiator *who, struct scsi *scsi,
		      uint8_t scsi_status)
{
	bool ok;

	if (!scsi_execute(who, scsi)) {
		return false;
	}
	ok = scsi->result.sense.scsi_status == scsi_status;
	print_result(who, scsi->name, ok, "%s",
		     scsi_text(&scsi->result.sense));
	return ok;
}

/* Execute; true when the disk sent so much, else that was shown. */
static bool scsi_data_in(struct initiator *who, struct scsi *scsi,
			 uint32_t least)
{
	if (!scsi_execute(who, scsi)) {
		return false;
	}
	if (scsi->result.sense.scsi_status != 0 ||
	    scsi->result.data_in_length < least) {
		print_result(who, scsi->name, false, "%s, %"PRIu32" bytes",
			     scsi_text(&scsi->result.sense),
			     scsi->result.data_in_length);
		return false;
	}
	return true;
}

static char *hex(const uint8_t *data, size_t length)
{
	return hex_encode_talloc(talloc_tos(), data, length);
}

static void show_inquiry(struct initiator *who)
{
	struct scsi inquiry = {
		.name = "INQUIRY",
		SCSI_CDB(0x12, 0, 0, 0, 96, 0),
		.data_in_length = 96,
	};
	struct scsi pages = {
		.name = "INQUIRY, page 00h",
		SCSI_CDB(0x12, 1, 0x00, 0, 255, 0),
		.data_in_length = 255,
	};
	struct scsi id = {
		.name = "INQUIRY, page 83h",
		SCSI_CDB(0x12, 1, 0x83, 0, 255, 0),
		.data_in_length = 255,
	};
	const uint8_t *data = NULL;

	if (scsi_data_in(who, &inquiry, 36)) {
		data = inquiry.result.data_in;
		print_result(who, inquiry.name, data[0] == 0,
			     "GOOD, disk \"%.8s\" \"%.16s\" \"%.4s\"",
			     data + 8, data + 16, data + 32);
	}
	if (scsi_data_in(who, &pages, 5)) {
		data = pages.result.data_in;
		print_result(who, pages.name, data[1] == 0, "GOOD, pages %s",
			     hex(data + 4, MIN(data[3], 251)));
	}
	if (scsi_data_in(who, &id, 8)) {
		data = id.result.data_in;
		print_result(who, id.name, data[1] == 0x83,
			     "GOOD, designator %s",
			     hex(data + 8, MIN(data[7], 32)));
	}
}

static void show_scsi(struct initiator *who)
{
	struct scsi ready = {
		.name = "TEST UNIT READY",
		SCSI_CDB(0x00, 0, 0, 0, 0, 0),
	};
	struct scsi capacity = {
		.name = "READ CAPACITY (16)",
		SCSI_CDB(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0,
			 0, 0, 0, 32, 0, 0),
		.data_in_length = 32,
	};
	struct scsi luns = {
		.name = "REPORT LUNS",
		SCSI_CDB(0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0),
		.data_in_length = 16,
	};
	struct scsi unknown = {
		.name = "opcode C1h, which no disk has",
		SCSI_CDB(0xc1, 0, 0, 0, 0, 0),
	};

	scsi_show(who, &ready, 0);
	show_inquiry(who);
	if (scsi_data_in(who, &capacity, 32)) {
		const uint8_t *data = capacity.result.data_in;
		uint64_t num_blocks = RBVAL(data, 0) + 1;
		uint32_t block_size = RIVAL(data, 8);

		print_result(who, capacity.name,
			     num_blocks * block_size == disk_size,
			     "GOOD, %"PRIu64" blocks of %"PRIu32" bytes",
			     num_blocks, block_size);
	}
	if (scsi_data_in(who, &luns, 16)) {
		const uint8_t *data = luns.result.data_in;

		print_result(who, luns.name, RIVAL(data, 0) == 8,
			     "GOOD, LUN %s", hex(data + 8, 8));
	}
	scsi_show(who, &unknown, 0x02);
}

/*
 * Data
 */

static uint8_t *random_data(size_t length)
{
	uint8_t *data = talloc_array(talloc_tos(), uint8_t, length);

	SMB_ASSERT(data != NULL);
	generate_random_buffer(data, length);
	return data;
}

static char *range_text(const char *verb, size_t length, uint64_t offset)
{
	return talloc_asprintf(talloc_tos(), "%s %zu KiB at %"PRIu64" KiB",
			       verb, length >> 10, offset >> 10);
}

static void smb2_write(struct initiator *who, size_t length, uint64_t offset)
{
	uint8_t *data = random_data(length);
	NTSTATUS status;

	status = librsvd_write(who->disk, data, length, offset, 0);
	print_status(who, range_text("WRITE", length, offset), status,
		     NT_STATUS_OK);
	memcpy(expected + offset, data, length);
}

static const char *compare_text(const uint8_t *data, size_t length,
				uint64_t offset, bool *same)
{
	*same = memcmp(data, expected + offset, length) == 0;
	if (!*same) {
		return "OTHER bytes";
	}
	if (all_zero(data, length)) {
		return "zeros, as nobody wrote there";
	}
	return "the bytes that were written";
}

static void smb2_read(struct initiator *who, size_t length, uint64_t offset)
{
	uint8_t *data = random_data(length);
	const char *text = "";
	bool same = false;
	size_t nread = 0;
	NTSTATUS status;

	status = librsvd_read(who->disk, data, length, offset, &nread);
	if (NT_STATUS_IS_OK(status)) {
		text = compare_text(data, nread, offset, &same);
	}
	print_result(who, range_text("READ", length, offset),
		     same && nread == length, "%s, %s", status_name(status),
		     text);
}

static void scsi_write(struct initiator *who, size_t length, uint64_t offset)
{
	struct scsi scsi = {
		.name = range_text("SCSI WRITE (16)", length, offset),
		SCSI_CDB(0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		.data_out = random_data(length),
		.data_out_length = length,
	};

	RSBVAL(scsi.cdb, 2, offset / SECTOR);
	RSIVAL(scsi.cdb, 10, length / SECTOR);
	scsi_show(who, &scsi, 0);
	memcpy(expected + offset, scsi.data_out, length);
}

static void scsi_read(struct initiator *who, size_t length, uint64_t offset)
{
	struct scsi scsi = {
		.name = range_text("SCSI READ (10)", length, offset),
		SCSI_CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		.data_in_length = length,
	};
	const char *text = NULL;
	bool same = false;

	RSIVAL(scsi.cdb, 2, offset / SECTOR);
	RSSVAL(scsi.cdb, 7, length / SECTOR);
	if (!scsi_data_in(who, &scsi, length)) {
		return;
	}
	text = compare_text(scsi.result.data_in, length, offset, &same);
	print_result(who, scsi.name, same, "GOOD, %s", text);
}

static void show_data(struct initiator *a, struct initiator *b)
{
	struct scsi sync = {
		.name = "SCSI SYNCHRONIZE CACHE (10)",
		SCSI_CDB(0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0),
	};
	const size_t kib = 1024, mib = 1024 * kib;

	print_title("Written by one and read by the other, through SMB2 "
		    "READ and WRITE");
	smb2_read(b, 64 * kib, 0);
	smb2_write(a, 64 * kib, 0);
	smb2_read(b, 64 * kib, 0);
	smb2_write(b, 3 * mib, 31 * mib);
	smb2_read(a, 3 * mib, 31 * mib);
	print_status(a, "FLUSH", librsvd_flush(a->disk), NT_STATUS_OK);

	print_title("The same through the tunnel, and mixed");
	scsi_write(a, 8 * kib, 40 * mib);
	scsi_read(b, 8 * kib, 40 * mib);
	scsi_write(b, 4 * kib, 4 * kib);
	smb2_read(a, 64 * kib, 0);
	smb2_write(b, 256 * kib, 63 * mib);
	scsi_read(a, 256 * kib, 63 * mib);
	scsi_show(b, &sync, 0);
}

static void show_errors(struct initiator *who)
{
	uint8_t data[SECTOR] = { 0 };
	struct librsvd_sense sense = { .scsi_status = 0 };
	NTSTATUS status;

	print_title("An error, and the sense that the server keeps for it");
	status = librsvd_write(who->disk, data, sizeof(data), disk_size, 0);
	print_result(who, "WRITE past the end of the disk",
		     librsvd_status_is_stored(status, NULL), "%s",
		     status_name(status));
	status = librsvd_sense_of_status(who->disk, status, &sense);
	print_result(who, "SRB_STATUS of that key",
		     NT_STATUS_IS_OK(status) && sense.scsi_status == 0x02,
		     "%s, %s", status_name(status), scsi_text(&sense));
}

/*
 * Persistent reservations
 */

enum {
	PR_REGISTER = 0x00,
	PR_RESERVE = 0x01,
	PR_CLEAR = 0x03,
	PR_PREEMPT = 0x04,
};

#define PR_WRITE_EXCLUSIVE 0x1

static void pr_out(struct initiator *who, const char *name, uint8_t action,
		   uint64_t key, uint64_t other_key)
{
	uint8_t parameters[24] = { 0 };
	struct scsi scsi = {
		.name = name,
		SCSI_CDB(0x5f, action, PR_WRITE_EXCLUSIVE, 0, 0,
			 0, 0, 0, sizeof(parameters), 0),
		.data_out = parameters,
		.data_out_length = sizeof(parameters),
	};

	RSBVAL(parameters, 0, key);
	RSBVAL(parameters, 8, other_key);
	scsi_show(who, &scsi, 0);
}

static void pr_read_keys(struct initiator *who)
{
	struct scsi scsi = {
		.name = "PR IN READ KEYS",
		SCSI_CDB(0x5e, 0, 0, 0, 0, 0, 0, 0, 255, 0),
		.data_in_length = 255,
	};
	char *keys = NULL;
	uint32_t i;

	if (!scsi_data_in(who, &scsi, 8)) {
		return;
	}
	keys = talloc_strdup(talloc_tos(), "");
	for (i = 8; i + 8 <= scsi.result.data_in_length; i += 8) {
		talloc_asprintf_addbuf(&keys, " %"PRIX64,
				       RBVAL(scsi.result.data_in, i));
	}
	print_result(who, scsi.name, true, "GOOD, keys%s",
		     scsi.result.data_in_length > 8 ? keys : ": none");
}

static void show_reservations(struct initiator *a, struct initiator *b)
{
	uint8_t data[SECTOR] = { 0 };
	const uint64_t key_a = 0xA, key_b = 0xB;
	struct scsi refused = {
		.name = "SCSI WRITE (10)",
		SCSI_CDB(0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0),
		.data_out = data,
		.data_out_length = sizeof(data),
	};
	struct scsi ready = {
		.name = "TEST UNIT READY",
		SCSI_CDB(0x00, 0, 0, 0, 0, 0),
	};
	NTSTATUS status;

	print_title("They fight for it: A reserves, B takes it from A");
	pr_out(a, "PR OUT REGISTER key A", PR_REGISTER, 0, key_a);
	pr_out(b, "PR OUT REGISTER key B", PR_REGISTER, 0, key_b);
	pr_read_keys(a);
	pr_out(a, "PR OUT RESERVE, write exclusive", PR_RESERVE, key_a, 0);
	smb2_read(b, 64 * 1024, 0);
	status = librsvd_write(b->disk, data, sizeof(data), 0, 0);
	print_status(b, "WRITE", status, LIBRSVD_STATUS_RESERVATION_CONFLICT);
	scsi_show(b, &refused, 0x18);
	show_command("Who is registered, who holds it? (rsvdctl status)",
		     "rsvdctl status $CONFIGURATION | sed -n 's/./  &/p'");
	printf("\n");

	pr_out(b, "PR OUT PREEMPT key A", PR_PREEMPT, key_b, key_a);
	scsi_show(a, &ready, 0x02);
	status = librsvd_write(a->disk, data, sizeof(data), 0, 0);
	print_status(a, "WRITE", status, LIBRSVD_STATUS_RESERVATION_CONFLICT);
	smb2_write(b, 64 * 1024, 0);
	pr_read_keys(b);

	pr_out(b, "PR OUT CLEAR", PR_CLEAR, key_b, 0);
	pr_read_keys(a);
	smb2_write(a, 64 * 1024, 64 * 1024);
	smb2_read(b, 128 * 1024, 0);
}

static void detach(struct initiator *who)
{
	print_status(who, "CLOSE", librsvd_close(who->disk), NT_STATUS_OK);
	TALLOC_FREE(who->conn);
}

/* What the disk has to contain is the contents of a file, from the start. */
static bool expect(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	void *map = MAP_FAILED;

	if (fd != -1 && ftruncate(fd, disk_size) == 0) {
		map = mmap(NULL, disk_size, PROT_READ | PROT_WRITE,
			   MAP_SHARED, fd, 0);
	}
	if (map == MAP_FAILED) {
		perror(path);
		return false;
	}
	close(fd);
	expected = map;
	return true;
}

int main(int argc, char *argv[])
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct initiator a = { .conn = NULL }, b = { .conn = NULL };
	int ret = 1;

	if (argc != 3) {
		fprintf(stderr, "usage: demo DISK EXPECTED\n");
		goto done;
	}

	print_title("Two initiators attach it");
	if (!attach(frame, &a, 'A', argv[1]) ||
	    !attach(frame, &b, 'B', argv[1]) ||
	    !expect(argv[2])) {
		goto done;
	}
	show_command("Each has a smbd of its own (smbstatus --processes)",
		     "${SMBSTATUS:-smbstatus} $CONFIGURATION --processes | "
		     "sed -n 's/^[0-9]/  &/p'");
	show_command("Who has it attached? (rsvdctl status)",
		     "rsvdctl status $CONFIGURATION | sed -n 's/./  &/p'");
	setenv("DISK", argv[1], 1);
	show_command("Others cannot take it away (smbclient, del and rename)",
		     "smbclient $CONFIGURATION -p $SERVER_PORT "
		     "-U \"$USERNAME%$PASSWORD\" //$SERVER_IP/$SHARE "
		     "-c \"del $DISK; rename $DISK x\" | "
		     "sed 's/^/  /' | grep SHARING_VIOLATION");

	print_title("What is it?");
	show_tunnel(&a);
	show_scsi(&b);

	show_data(&a, &b);
	show_errors(&a);
	show_reservations(&a, &b);

	print_title("Both detach it");
	detach(&a);
	detach(&b);

	if (num_surprises > 0) {
		printf("\n%d results were not expected\n", num_surprises);
	}
	ret = num_surprises > 0;
done:
	TALLOC_FREE(frame);
	return ret;
}
