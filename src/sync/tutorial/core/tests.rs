mod rules;
mod timeline;
mod world;
