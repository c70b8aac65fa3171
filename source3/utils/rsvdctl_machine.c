/*
 * vfs_rsvd: the initiators of this machine
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "includes.h"
#include "source3/utils/rsvdctl_machine.h"
#include <gnutls/gnutls.h>
#include <gnutls/crypto.h>

/*
 * machine-id is confidential (machine-id(5)): only a hash of it leaves the
 * machine.
 */
bool rsvdctl_machine_guid(unsigned int number, struct librsvd_guid *guid)
{
	char id[64] = { 0 };
	uint8_t digest[32];
	gnutls_hash_hd_t hash = NULL;
	ssize_t n;
	int fd;

	fd = open("/etc/machine-id", O_RDONLY);
	if (fd == -1) {
		return false;
	}
	n = read(fd, id, sizeof(id));
	close(fd);
	if (n < 32) {
		return false;
	}

	if (gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) != 0) {
		return false;
	}
	gnutls_hash(hash, "rsvdctl", strlen("rsvdctl"));
	gnutls_hash(hash, id, 32);
	if (number != 0) {
		uint8_t suffix = number;

		gnutls_hash(hash, &suffix, sizeof(suffix));
	}
	gnutls_hash_deinit(hash, digest);

	memcpy(guid->bytes, digest, sizeof(guid->bytes));
	/* RFC 9562: version 8, variant 10 */
	guid->bytes[7] = (guid->bytes[7] & 0x0F) | 0x80;
	guid->bytes[8] = (guid->bytes[8] & 0x3F) | 0x80;
	return true;
}
