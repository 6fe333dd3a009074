"""Where endpoints are: host names resolved while they serve, and clusters whose members change.

Discovery (all of it, for one Runtime)
  Names       host names of endpoints, wherever those come from: one NameWatch each
  Membership  the endpoints of one cluster, from the settings and from its source (dns, srv, file)
both fed by a Watch: ask, hand over what changed, wait as long as the answer says
"""
