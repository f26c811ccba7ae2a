/* cor-agent.c - PID 1 of the guest; what it does, and its test mode, is in agent/agent.h. */
#include "agent/agent.h"

int main(int argc, char **argv)
{
	return agent_main(argc, argv);
}
