//! gridctl on stores: the program as people run it, against real etcd servers and directories.

#[cfg(test)]
mod applying;
#[cfg(test)]
mod contexts;
#[cfg(test)]
mod directories;
#[cfg(test)]
mod mirroring;
#[cfg(test)]
mod moves;
#[cfg(test)]
mod moving;
#[cfg(test)]
mod racing;
#[cfg(test)]
mod reaching;
#[cfg(test)]
mod routers;
#[cfg(test)]
mod shifting;
#[cfg(test)]
mod support;
#[cfg(test)]
mod undoing;
