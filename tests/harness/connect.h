/*
 * How a program reaches the server of ./waf selftest
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _HARNESS_CONNECT_H_
#define _HARNESS_CONNECT_H_

#include "source3/librsvd/librsvd.h"

/** What the environment says; a program may change it. */
static inline struct librsvd_connect_params harness_connect_params(void)
{
	const char *configuration = getenv("CONFIGURATION");
	const char *port = getenv("SERVER_PORT");
	struct librsvd_connect_params params = {
		.server = getenv("SERVER_IP"),
		.port = port != NULL ? atoi(port) : 0,
		.share = getenv("SHARE"),
		.user = getenv("USERNAME"),
		.password = getenv("PASSWORD"),
	};

	if (configuration != NULL && strncmp(configuration, "-s ", 3) == 0) {
		params.config_file = configuration + 3;
	}
	return params;
}

#endif /* _HARNESS_CONNECT_H_ */
